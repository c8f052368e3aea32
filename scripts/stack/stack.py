"""One instance of the stack: bring it up, take it down, or handle a single server."""

import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stack import endpoints, ports, preflight
from stack.errors import StackError
from stack.files import exclusive
from stack.install.bundles import Installer
from stack.layout import Layout
from stack.process import Process
from stack.progress import Reporter
from stack.servers.base import Context, Server
from stack.servers.connect import Connect
from stack.servers.elasticsearch import Elasticsearch
from stack.servers.kafka import Kafka
from stack.servers.mysql import MySQL
from stack.servers.postgres import Postgres
from stack.servers.registry import Registry
from stack.servers.sinks import ReplicaSink, SearchSink
from stack.starting import Starter, process_of
from stack.state import State

SERVERS: tuple[type[Server], ...] = (
    Kafka, MySQL, Postgres, Elasticsearch, Registry, Connect, ReplicaSink, SearchSink,
)  # fmt: skip
SINKS = ("sink-replica", "sink-search")
STOP_ORDER = (SINKS, ("connect",), ("registry", "mysql", "postgres", "elasticsearch"), ("kafka",))


@dataclass(frozen=True)
class Status:
    """What one server is doing."""

    name: str
    pid: int | None
    answers: bool
    address: str


class Stack:
    """The servers of one CDC_HOME."""

    def __init__(
        self, home: Path | None = None, cache: Path | None = None, reporter: Reporter | None = None
    ) -> None:
        self.layout = Layout.find(home, cache)
        self.reporter = reporter or Reporter()
        self.installer = Installer(self.layout, self.reporter)
        self.context = Context(self.layout, State(self.layout), self.installer)
        self.servers: dict[str, Server] = {kind.name: kind(self.context) for kind in SERVERS}

    def up(self, *, sinks: bool = True) -> None:
        """Start what does not run, in the order of need, and return when everything answers."""
        with self._alone():
            preflight.check(self.layout, self.installer)
            self._assign_ports()
            wanted = [name for name in self.servers if sinks or name not in SINKS]
            self._starter().start_all(wanted)
            self.installer.tidy()

    def down(self, *, wipe: bool = False) -> None:
        """Stop everything gracefully, those first that need others."""
        with self._alone():
            for wave in STOP_ORDER:
                with ThreadPoolExecutor() as pool:
                    list(pool.map(self._stop, wave))
        if wipe:
            for server in self.servers.values():
                server.wipe()
            shutil.rmtree(self.layout.home)

    def start(self, name: str) -> None:
        """Start one server and wait until it answers."""
        with self._alone():
            self._assign_ports()
            starter = self._starter()
            starter.start(self.servers[name])
            if name == "connect":
                starter.register()

    def stop(self, name: str) -> None:
        """Stop one server gracefully."""
        with self._alone():
            self._stop(name)

    def restart(self, name: str) -> None:
        """Stop and start one server."""
        self.stop(name)
        self.start(name)

    def kill(self, name: str) -> None:
        """End one server with SIGKILL."""
        process = self.process(name)
        if not process.signal(signal.SIGKILL):
            raise StackError(f"{name} does not run", "Start it first.")
        while process.running():
            time.sleep(0.01)

    def process(self, name: str) -> Process:
        """Return a server's process."""
        return process_of(self.layout, name)

    def status(self) -> list[Status]:
        """Look at every server."""
        return [self._status(server) for server in self.servers.values()]

    def _status(self, server: Server) -> Status:
        running = self.process(server.name).running()
        known = server.name in self.context.state.ports
        address = self.context.address(server.name) if known else ""
        answers = bool(running) and known and server.answers()
        return Status(server.name, running.pid if running else None, answers, address)

    def _starter(self) -> Starter:
        return Starter(self.context, self.reporter, self.servers)

    def _assign_ports(self) -> None:
        defaults: dict[str, int] = {}
        running: set[str] = set()
        for name, server in self.servers.items():
            defaults |= server.listeners
            if self.process(name).running():
                running |= set(server.listeners)
        for said in ports.assign(self.layout, self.context.state, defaults, running):
            self.reporter.say(said)
        postgres = self.servers["postgres"]
        assert isinstance(postgres, Postgres)  # noqa: S101 - told to the type checker
        endpoints.write(self.context, postgres)

    def _stop(self, name: str) -> None:
        server, process = self.servers[name], self.process(name)
        if not process.running():
            return
        with self.reporter.step(f"stop {name}"):
            killed = process.end(server.stop_signal, server.stop_seconds)
        if killed:
            self.reporter.say(f"{name} did not stop within {server.stop_seconds:.0f} s and was killed")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other runs on the same home waiting; their progress is seen afterwards."""
        with exclusive(self.layout.lock):
            self.layout.make()
            yield
