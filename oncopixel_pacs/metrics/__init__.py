"""What Prometheus can ask: what this process did, and how the whole stands."""
