"""The contract of a server, and what all of them are handed."""

import signal
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stack.install.bundles import Installer
from stack.layout import Layout
from stack.process import Launch
from stack.state import State

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Context:
    """What a server may use: the instance's folders and state, and the installed bundles."""

    layout: Layout
    state: State
    installer: Installer

    def address(self, listener: str) -> str:
        """Return host:port of a listener."""
        return f"{HOST}:{self.state.port(listener)}"

    def url(self, listener: str) -> str:
        """Return the HTTP address of a listener."""
        return f"http://{self.address(listener)}"


class Server(ABC):
    """One server.

    `prepare` makes its data folder and configuration, `launch` says how to start it, `answers` is true once
    it serves requests, `settle` does what must be done before others use it. All may be called repeatedly.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    bundles: ClassVar[tuple[str, ...]] = ()
    listeners: ClassVar[Mapping[str, int]]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_seconds: ClassVar[float] = 30
    ready_seconds: ClassVar[float] = 120

    def __init__(self, context: Context) -> None:
        self.context = context
        self.folder = context.layout.of(self.name)

    def port(self, listener: str | None = None) -> int:
        """Return the port of a listener (the first one is named like the server)."""
        return self.context.state.port(listener or self.name)

    def needed_bundles(self) -> tuple[str, ...]:
        """Return the bundles without which it can't run on this machine."""
        return self.bundles

    def bundle(self, name: str) -> Path:
        """Return the folder of an installed bundle."""
        return self.context.installer.ensure(name)

    def prepare(self) -> None:
        """Make the data folder and the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def launch(self) -> Launch:
        """Say how to start it."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether it serves requests."""

    def settle(self) -> None:
        """Do what must be done before others use it."""
        return

    def wipe(self) -> None:
        """Remove what lies outside the instance's folder."""
        return


def http_ok(url: str, seconds: float = 5) -> bool:
    """Tell whether a GET is answered with a success."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:  # noqa: S310 - an address of our own
            return bool(200 <= answer.status < 300)  # noqa: PLR2004 - the class of successes
    except (OSError, urllib.error.URLError, ValueError):
        return False
