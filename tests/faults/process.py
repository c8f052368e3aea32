"""A `cdc run` of a test's own: its own sinks, group and state, killed and frozen at will."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.waiting import wait_until

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping

CDC = Path(sys.executable).with_name("cdc")
_CONFIG = """
[worker]
retry_first_seconds = 0.2
retry_ceiling_seconds = 1
breaker_failures = 3
breaker_open_seconds = 1
[sinks.{name}-pg]
type = "postgres"
dsn = "postgresql://nobody@127.0.0.1:1/replica"
state_schema = "state_{name}"
include = ["{databases}"]
http = "127.0.0.1:{ports[0]}"
[sinks.{name}-es]
type = "elasticsearch"
url = "http://127.0.0.1:1"
include = ["{databases}"]
exclude = ["*.notes"]
http = "127.0.0.1:{ports[1]}"
"""


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


class Sinks:
    """Both sinks in one process.

    Args:
        folder: for configuration and log.
        home: of the stack; its addresses are used where ``settings`` name no other.
        name: of the sinks, their groups and their state.
        databases: which databases they take, as a glob of `database.table`.
        settings: further environment.
    """

    def __init__(
        self, folder: Path, home: Path, name: str, databases: str, settings: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.ports = free_ports(2)
        number = len(list(folder.iterdir()))
        self._config = folder / f"{name}-{number}.toml"
        self._config.write_text(_CONFIG.format(name=name, databases=databases, ports=self.ports))
        self.log = folder / f"{name}-{number}.log"
        self._environment = {**os.environ, "CDC_HOME": str(home), **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [CDC, "--config", str(self._config), "run"], env=self._environment, stdout=log, stderr=log
            )
        if wait:
            wait_until(lambda: self.states() <= {"running", "idle"}, 240, what=f"{self.name} works")

    def signal(self, which: signal.Signals) -> None:
        """Send a signal to this process, which we started."""
        self.process.send_signal(which)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM; return exit code and seconds."""
        began = time.monotonic()
        self.process.terminate()
        return self.process.wait(60), time.monotonic() - began

    def report(self, sink: int) -> dict[str, Any]:
        """Return what one of the sinks says of itself: 0 PostgreSQL, 1 Elasticsearch."""
        answer: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.ports[sink]}/health", timeout=10).json()
        return answer

    def states(self) -> set[str]:
        try:
            return {self.report(sink)["state"] for sink in (0, 1)}
        except httpx.HTTPError:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return {"no answer"}

    def states_or_none(self) -> set[str]:
        """Return the states, or nothing while the process does not answer."""
        try:
            return {self.report(sink)["state"] for sink in (0, 1)}
        except httpx.HTTPError:
            return set()

    def degraded(self, sink: int) -> str:
        """Return why a sink is degraded; empty if it is not."""
        report = self.report(sink)
        return str(report["error"]["what"]) if report["state"] == "degraded" else ""

    def parked(self) -> int:
        return sum(self.report(sink)["counts"].get("parked", 0) for sink in (0, 1))

    def memory_mib(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the process is gone")
