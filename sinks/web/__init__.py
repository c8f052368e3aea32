"""A worker's HTTP endpoint: is it alive, is it ready, how is it, its metrics."""

from sinks.web.app import create_app
from sinks.web.server import Server, serve

__all__ = ["Server", "create_app", "serve"]
