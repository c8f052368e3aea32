"""The sink workers, our own."""

import sys
from pathlib import Path
from typing import ClassVar

from stack.layout import REPO
from stack.process import Launch
from stack.servers.base import Server, http_ok


class Sink(Server):
    """One worker of `cdc run`."""

    sink: ClassVar[str]
    needs = ("connector", "postgres", "elasticsearch")
    ready_seconds = 30

    def launch(self) -> Launch:
        """Run the worker from the repository's root, where cdc.toml is."""
        argv = [str(Path(sys.executable).with_name("cdc")), "run", "--sink", self.sink]
        return Launch(
            argv, env={"CDC_HOME": str(self.context.layout.home), "PYTHONUNBUFFERED": "1"}, cwd=REPO
        )

    def answers(self) -> bool:
        """Tell whether the worker lives."""
        return http_ok(f"{self.context.url(self.name)}/livez")


class ReplicaSink(Sink):
    """MySQL to PostgreSQL."""

    name = "sink-replica"
    sink = "replica"
    listeners = {"sink-replica": 8101}  # noqa: RUF012 - a constant of the class


class SearchSink(Sink):
    """MySQL to Elasticsearch."""

    name = "sink-search"
    sink = "search"
    listeners = {"sink-search": 8102}  # noqa: RUF012 - a constant of the class
