"""Bundles with code of their own, run in a process that is shut in."""
