"""Benchmarks against peers: what is printed here stands in docs/performance.md."""
