"""Sending result objects to destinations, one module per kind of destination."""
