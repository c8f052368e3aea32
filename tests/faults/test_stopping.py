"""SIGTERM at any moment: exit code 0 within ten seconds, and nothing is lost."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.proxy import Mode
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.faults.scene import Scene

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

SECONDS = 10.0


def test_while_idle_and_under_load(scene: Scene) -> None:
    for seed in range(2):
        sinks = scene.sinks()
        sinks.start()
        sessions = scene.start_writing(2000, seed=seed)
        wait_until(lambda sinks=sinks: sinks.states() & {"running"}, 30)  # type: ignore[misc]
        code, seconds = sinks.stop()
        assert (code, seconds < SECONDS) == (0, True), seconds
        for session in sessions:
            session.join()
    last = scene.sinks()
    last.start()
    scene.wait_equal()
    assert last.stop()[0] == 0


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(Mode.STALL, id="hanging"),
        pytest.param(Mode.REFUSE, id="refusing", marks=pytest.mark.long),
    ],
)
def test_while_both_targets_are_out(scene: Scene, mode: Mode) -> None:
    sinks = scene.sinks()
    sinks.start()
    for server in ("postgres", "elasticsearch"):
        scene.proxies[server].mode = mode
    scene.write(500)
    if mode is Mode.REFUSE:
        wait_until(lambda: sinks.degraded(0) and sinks.degraded(1), 60)
    else:
        wait_until(lambda: sinks.report(0)["lag"]["records"], 60)
    code, seconds = sinks.stop()
    assert (code, seconds < SECONDS) == (0, True), seconds
    for server in ("postgres", "elasticsearch"):
        scene.proxies[server].mode = Mode.PASS
    again = scene.sinks()
    again.start()
    scene.wait_equal()
    assert again.parked() == 0


@pytest.mark.long
def test_while_kafka_hangs(scene: Scene) -> None:
    sinks = scene.sinks()
    sinks.start()
    broker = scene.stack.process("kafka")
    broker.signal(signal.SIGSTOP)
    try:
        code, seconds = sinks.stop()
    finally:
        broker.signal(signal.SIGCONT)
    assert (code, seconds < SECONDS) == (0, True), seconds


def test_while_starting(scene: Scene) -> None:
    """Also before the workers are there: the signal is not lost and nothing is left behind."""
    sinks = scene.sinks()
    sinks.start(wait=False)
    wait_until(lambda: "sink" in sinks.log.read_text() or sinks.states() != {"no answer"}, 60)
    code, seconds = sinks.stop()
    assert (code, seconds < SECONDS) == (0, True), seconds
