"""The HTTP endpoints of a worker."""
