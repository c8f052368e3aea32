"""Start servers side by side, each as soon as those that it needs answer."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from stack.errors import CancelledError, StackError
from stack.layout import Layout
from stack.process import Process
from stack.progress import Reporter
from stack.servers.base import Context, Server
from stack.servers.connectors import NAME, Connectors

CONNECTOR = "connector"
CONNECTOR_NEEDS = ("mysql", "kafka", "registry", "connect")
POLL_SECONDS = 0.1
RETRY_SECONDS = 1.0
TRIES = 3


class Starter:
    """Brings servers to the point where they answer; what already runs as it should is left alone."""

    def __init__(self, context: Context, reporter: Reporter, servers: Mapping[str, Server]) -> None:
        self._context = context
        self._reporter = reporter
        self._servers = servers

    def start_all(self, wanted: Sequence[str]) -> None:
        """Run one thread per server and one for the connector; the first failure ends the others."""
        steps = {name: self._step_of(name) for name in wanted}
        steps[CONNECTOR] = (CONNECTOR_NEEDS, self.register)
        ready = {name: threading.Event() for name in steps}

        def take(name: str) -> None:
            needs, act = steps[name]
            if name in self._servers:
                for bundle in self._servers[name].needed_bundles():
                    self._context.installer.ensure(bundle)
            for need in needs:
                while not ready[need].wait(POLL_SECONDS):
                    self._context.installer.go_on()
            act()
            ready[name].set()

        with ThreadPoolExecutor(max_workers=len(steps)) as pool:
            outcomes = [pool.submit(take, name) for name in steps]
            try:
                wait(outcomes, return_when=FIRST_EXCEPTION)
            finally:
                if not all(event.is_set() for event in ready.values()):
                    self._context.installer.cancelled.set()
        errors = [error for error in (outcome.exception() for outcome in outcomes) if error]
        for error in errors:
            if not isinstance(error, CancelledError):
                raise error

    def start(self, server: Server) -> None:
        """Leave a server alone that runs as it should; else start it, and wait until it answers."""
        process = process_of(self._context.layout, server.name)
        server.prepare()
        running = process.running()
        if running and running.launch == server.launch().fingerprint() and server.answers():
            server.settle()
            return
        if running:
            process.end(server.stop_signal, server.stop_seconds)
        with self._reporter.step(f"start {server.name}", self._context.address(server.name)):
            self._launch(server, process)
            server.settle()

    def register(self) -> None:
        """Register the connectors and wait until they deliver."""
        with self._reporter.step(f"connector {NAME}", "delivers"):
            Connectors(self._context.url("connect"), self._context.address("kafka")).register()

    def _step_of(self, name: str) -> tuple[tuple[str, ...], Callable[[], None]]:
        server = self._servers[name]
        return server.needs, lambda: self.start(server)

    def _launch(self, server: Server, process: Process) -> None:
        deadline = time.monotonic() + server.ready_seconds
        process.spawn(server.launch())
        tries = 1
        while not server.answers():
            self._context.installer.go_on()
            if not process.running():
                # What was killed a moment ago may hold its files and ports for a little longer.
                if tries == TRIES:
                    raise StackError(
                        f"{server.name} ended while starting; it said last:\n{process.last_words()}\n",
                        f"The whole of it is in {process.log.name} among the logs.",
                    )
                tries += 1
                time.sleep(RETRY_SECONDS)
                process.spawn(server.launch())
            elif time.monotonic() > deadline:
                raise StackError(
                    f"{server.name} runs but does not answer after {server.ready_seconds:.0f} s",
                    f"Look at {process.log.name} among the logs, then run `up` again.",
                )
            time.sleep(POLL_SECONDS)


def process_of(layout: Layout, name: str) -> Process:
    """Return a server's process."""
    return Process(name, layout.run, layout.log(name))
