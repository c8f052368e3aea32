"""The command ``cdc``."""

from sinks.cli.main import main

__all__ = ["main"]
