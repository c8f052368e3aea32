"""Fetch the pinned servers, check them, and unpack them into the shared cache."""
