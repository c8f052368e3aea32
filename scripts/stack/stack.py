"""One instance of the stack: bring it up, take it down, or handle a single server."""

import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from stack.servers.connectors import NAME, Connectors
from stack.servers.elasticsearch import Elasticsearch
from stack.servers.kafka import Kafka
from stack.servers.mysql import MySQL
from stack.servers.postgres import Postgres
from stack.servers.registry import Registry
from stack.servers.sinks import ReplicaSink, SearchSink
from stack.state import State

SERVERS: tuple[type[Server], ...] = (
    Kafka, MySQL, Postgres, Elasticsearch, Registry, Connect, ReplicaSink, SearchSink,
)  # fmt: skip
SINKS = ("sink-replica", "sink-search")
CONNECTOR = "connector"
STOP_ORDER = (SINKS, ("connect",), ("registry", "mysql", "postgres", "elasticsearch"), ("kafka",))
POLL_SECONDS = 0.1


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
        self.layout.make()
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
            self._start_all(wanted)

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
            self._start(self.servers[name])
            if name == "connect":
                self._register()

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
        return Process(name, self.layout.run, self.layout.log(name))

    def status(self) -> list[Status]:
        """Look at every server."""
        return [self._status(server) for server in self.servers.values()]

    def _status(self, server: Server) -> Status:
        running = self.process(server.name).running()
        known = server.name in self.context.state.ports
        address = self.context.address(server.name) if known else ""
        answers = bool(running) and known and server.answers()
        return Status(server.name, running.pid if running else None, answers, address)

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

    def _start_all(self, wanted: Sequence[str]) -> None:
        """Run one thread per server; each waits for those that it needs."""
        ready: dict[str, threading.Event] = {name: threading.Event() for name in [*wanted, CONNECTOR]}
        failed = threading.Event()

        def bring_up(name: str) -> None:
            try:
                needs = (
                    (*SERVERS_BEFORE_CONNECTOR, "connect") if name == CONNECTOR else self.servers[name].needs
                )
                needs = (*needs, CONNECTOR) if name in SINKS else needs
                if name != CONNECTOR:
                    for bundle in self.servers[name].bundles:
                        self.installer.ensure(bundle)
                for need in needs:
                    while not ready[need].wait(POLL_SECONDS):
                        if failed.is_set():
                            return
                if name == CONNECTOR:
                    self._register()
                else:
                    self._start(self.servers[name])
                ready[name].set()
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(max_workers=len(ready)) as pool:
            outcomes: list[Future[None]] = [pool.submit(bring_up, name) for name in ready]
        for outcome in outcomes:
            outcome.result()

    def _register(self) -> None:
        with self.reporter.step(f"connector {NAME}", "delivers"):
            Connectors(self.context.url("connect"), self.context.address("kafka")).register()

    def _start(self, server: Server) -> None:
        """Leave a server alone that runs as it should; else start it, and wait until it answers."""
        process = self.process(server.name)
        server.prepare()
        launch = server.launch()
        running = process.running()
        if running and running.launch == launch.fingerprint() and server.answers():
            server.settle()
            return
        if running:
            process.end(server.stop_signal, server.stop_seconds)
        with self.reporter.step(f"start {server.name}", self.context.address(server.name)):
            self._launch(server, process)
            server.settle()

    def _launch(self, server: Server, process: Process) -> None:
        deadline = time.monotonic() + server.ready_seconds
        tries = 0
        process.spawn(server.launch())
        while not server.answers():
            if not process.running():
                tries += 1
                if tries > 2:  # noqa: PLR2004 - what was killed may hold its files for a moment longer
                    raise StackError(
                        f"{server.name} ended while starting; it said last:\n{process.last_words()}\n",
                        f"The whole of it is in {process.log.name}.",
                    )
                time.sleep(1)
                process.spawn(server.launch())
            elif time.monotonic() > deadline:
                raise StackError(
                    f"{server.name} runs but does not answer after {server.ready_seconds:.0f} s",
                    f"Look at {process.log.name}; `up` tries again.",
                )
            time.sleep(POLL_SECONDS)

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


SERVERS_BEFORE_CONNECTOR = ("mysql", "kafka", "registry")
