from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar

import pytest
from rich.console import Console
from stack import starting
from stack.errors import StackError
from stack.install.bundles import Installer
from stack.layout import Layout
from stack.process import Launch
from stack.progress import Reporter
from stack.servers.base import Context, Server
from stack.starting import Starter, process_of
from stack.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Fake(Server):
    """A server that is a sleeping shell, and writes down what happens to it."""

    listeners: ClassVar[dict[str, int]] = {}
    command: ClassVar[list[str]] = ["sleep", "60"]
    ready_seconds = 5
    order: ClassVar[list[str]] = []

    def launch(self) -> Launch:
        return Launch(self.command)

    def answers(self) -> bool:
        return process_of(self.context.layout, self.name).running() is not None

    def settle(self) -> None:
        self.order.append(self.name)


class Database(Fake):
    name = "database"


class Worker(Fake):
    name = "worker"
    needs = ("database",)


class Broken(Fake):
    name = "broken"
    command: ClassVar[list[str]] = ["sh", "-c", "echo no such luck; exit 1"]

    def answers(self) -> bool:
        return False


class Waiting(Fake):
    name = "waiting"
    needs = ("broken",)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    layout = Layout(tmp_path / "home", tmp_path / "cache")
    layout.make()
    state = State(layout)
    state.set_ports({kind.name: 1 for kind in (Database, Worker, Broken, Waiting)})
    return Context(layout, state, Installer(layout, quiet()))


def quiet() -> Reporter:
    return Reporter(Console(quiet=True))


@pytest.fixture
def starter(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    monkeypatch.setattr(starting, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(starting, "CONNECTOR_NEEDS", ())
    monkeypatch.setattr(Starter, "register", lambda _: None)
    Fake.order.clear()
    servers: dict[str, Server] = {kind.name: kind(context) for kind in (Database, Worker, Broken, Waiting)}
    yield Starter(context, quiet(), servers)
    for name, server in servers.items():
        process_of(context.layout, name).end(server.stop_signal, 5)


def test_a_server_waits_for_those_that_it_needs(starter: Starter) -> None:
    starter.start_all(["worker", "database"])
    assert Fake.order == ["database", "worker"]


def test_what_runs_is_left_alone_and_what_was_killed_comes_back(starter: Starter, context: Context) -> None:
    starter.start_all(["database", "worker"])
    kept = process_of(context.layout, "database").running()
    process_of(context.layout, "worker").end(Fake.stop_signal, 5)
    starter.start_all(["database", "worker"])
    assert process_of(context.layout, "database").running() == kept
    assert process_of(context.layout, "worker").running()


def test_a_changed_command_line_restarts_the_server(
    starter: Starter, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter.start_all(["database"])
    before = process_of(context.layout, "database").running()
    monkeypatch.setattr(Database, "command", ["sleep", "61"])
    starter.start_all(["database"])
    assert process_of(context.layout, "database").running() != before


def test_the_first_failure_ends_the_others_and_tells_why(starter: Starter) -> None:
    before = set(threading.enumerate())
    with pytest.raises(StackError, match=r"broken ended while starting(?s:.*)no such luck"):
        starter.start_all(["broken", "waiting"])
    assert Fake.order == []
    assert not set(threading.enumerate()) - before
