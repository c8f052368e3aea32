from __future__ import annotations

import pytest

from sinks.connect_api import ConnectorStatus, TaskStatus
from sinks.health import WorkerStatus
from sinks.retry import Backoff
from sinks.supervisor import Supervisor

RUNNING = ConnectorStatus("RUNNING", (TaskStatus(0, "RUNNING"),))
FAILED = ConnectorStatus("RUNNING", (TaskStatus(0, "FAILED", "org.E: boom"),))


class World:
    """Connect, the source, the heartbeat and the time, as a test sets them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.heard_at: float | None = 0.0
        self.connector: ConnectorStatus | None = RUNNING
        self.source = True
        self.restarts: list[tuple[float, bool]] = []
        self.shown = WorkerStatus("replica")
        self.supervisor = Supervisor(
            ears=self,
            status=lambda: self.connector,
            restart=lambda only_failed: self.restarts.append((self.now, only_failed)),
            source_answers=lambda: self.source,
            shown=self.shown,
            silent_seconds=60,
            backoff=Backoff(first=10, ceiling=40),
            random=lambda: 1.0,
            clock=lambda: self.now,
        )

    def listen(self, seconds: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def look(self, at: float) -> None:
        self.now = at
        self.supervisor.look()


@pytest.fixture
def world() -> World:
    return World()


def test_a_failed_task_is_restarted_with_growing_pauses(world: World) -> None:
    world.connector = FAILED
    for second in range(120):
        world.look(second)
    assert world.restarts == [(0, True), (10, True), (30, True), (70, True), (110, True)]
    watch = world.shown.report().connector
    assert (watch.watching, watch.restarts, watch.reason) == (True, 5, "task 0 had failed: org.E: boom")


def test_a_heartbeat_after_the_restart_starts_the_pauses_over(world: World) -> None:
    world.connector = FAILED
    world.look(0)
    world.connector, world.heard_at = RUNNING, 20.0
    world.look(21)
    world.connector = FAILED
    world.look(22)
    world.look(32)
    assert [at for at, _ in world.restarts] == [0, 22, 32]


def test_one_that_says_running_without_a_heartbeat_is_restarted_whole(world: World) -> None:
    for second in range(0, 140, 10):
        world.look(second)
    assert world.restarts == [(70, False)]  # its silence counts anew from there
    assert "RUNNING without a heartbeat for 70 s" in world.shown.report().connector.reason


def test_a_source_that_is_out_is_waited_for(world: World) -> None:
    world.source = False
    world.look(1000)
    assert not world.restarts


@pytest.mark.parametrize("state", ["PAUSED", "STOPPED", "UNASSIGNED"])
def test_what_a_person_stopped_stays_stopped(world: World, state: str) -> None:
    world.connector = ConnectorStatus(state, ())
    world.look(1000)
    assert not world.restarts


def test_who_is_not_elected_does_nothing(world: World) -> None:
    world.connector, world.heard_at = FAILED, None
    world.look(1000)
    assert not world.restarts
    assert not world.shown.report().connector.watching
