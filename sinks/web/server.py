"""Serve an application from a thread of this process."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING

import uvicorn

from sinks.errors import ConfigError

if TYPE_CHECKING:
    from starlette.applications import Starlette

_CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class Server:
    """An application being served.

    Attributes:
        url: where.
    """

    url: str
    _server: uvicorn.Server
    _thread: Thread

    def close(self) -> None:
        """Stop; returns when the port is free. May be called twice."""
        self._server.should_exit = True
        self._thread.join(_CLOSE_SECONDS)


def serve(app: Starlette, host: str, port: int) -> Server:
    """Bind, and answer from a daemon thread: signals stay the main thread's, requests are not logged.

    Args:
        app: the application.
        host: address to bind.
        port: 0 for a free one.

    Raises:
        ConfigError: the address can't be bound.
    """
    bound = _bind(host, port)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, args=([bound],), name="web", daemon=True)
    thread.start()
    name = f"[{host}]" if ":" in host else host
    return Server(f"http://{name}:{bound.getsockname()[1]}", server, thread)


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()
    except OSError as error:
        bound.close()
        hint = "is a worker of this sink running already? else choose another http address for the sink"
        if error.errno != errno.EADDRINUSE:
            hint = "choose an address of this machine for the sink's http"
        raise ConfigError(
            f"the worker's HTTP endpoint can't listen: {error.strerror}", where=f"{host}:{port}", hint=hint
        ) from error
    return bound
