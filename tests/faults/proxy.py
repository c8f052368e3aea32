"""A TCP proxy that misbehaves on command, before a server that knows nothing of it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from enum import Enum

_CHUNK = 1 << 16


class Mode(Enum):
    """What the proxy does with connections."""

    PASS = "forwards"
    REFUSE = "closes every new connection at once, and those that are there"
    STALL = "accepts connections and forwards nothing, as a server that hangs"
    TOO_MANY = "answers HTTP requests with 429 Too Many Requests"
    UNAVAILABLE = "answers HTTP requests with 503 Service Unavailable"


_ANSWERS = {Mode.TOO_MANY: "429 Too Many Requests", Mode.UNAVAILABLE: "503 Service Unavailable"}


class Proxy:
    """Listens on a free port of this machine. ``mode`` may be changed at any time."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._mode = Mode.PASS
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._passing = threading.Event()
        self._passing.set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.STALL:
            self._passing.clear()
            return
        if mode is not Mode.PASS:
            self.cut()
        self._passing.set()

    def cut(self) -> None:
        """Break every connection in the middle of whatever it does."""
        with self._guard:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self._passing.set()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        mode = self._mode
        with client:
            if mode in _ANSWERS:
                with contextlib.suppress(OSError):
                    _answer(client, _ANSWERS[mode])
            elif mode is not Mode.REFUSE:
                self._passing.wait()
                with contextlib.suppress(OSError), socket.create_connection(self._target) as server:
                    self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        pair = {client: server, server: client}
        with self._guard:
            self._open |= set(pair)
        try:
            with selectors.DefaultSelector() as ready:
                for each in pair:
                    ready.register(each, selectors.EVENT_READ)
                while True:
                    for key, _ in ready.select():
                        source = key.fileobj
                        assert isinstance(source, socket.socket)
                        data = source.recv(_CHUNK)
                        self._passing.wait()
                        if not data:
                            return
                        pair[source].sendall(data)
        finally:
            with self._guard:
                self._open -= set(pair)


def _answer(client: socket.socket, status: str) -> None:
    """Read one request, its body included, and answer it."""
    reader = client.makefile("rb")
    length = 0
    for line in iter(reader.readline, b"\r\n"):
        if not line:
            return
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "content-length":
            length = int(value)
    reader.read(length)
    body = b'{"error":{"type":"scripted"}}'
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Elastic-Product: Elasticsearch\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    client.sendall(head.encode() + body)
