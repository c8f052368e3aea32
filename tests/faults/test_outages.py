"""What is out comes back, and the sinks go on by themselves: nothing lost, parked or restarted."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.proxy import Mode
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.scene import Scene

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

PG, ES = 0, 1
TARGETS = [
    ("postgres", PG, Mode.REFUSE),
    ("postgres", PG, Mode.STALL),
    ("elasticsearch", ES, Mode.REFUSE),
    ("elasticsearch", ES, Mode.STALL),
    ("elasticsearch", ES, Mode.TOO_MANY),
    ("elasticsearch", ES, Mode.UNAVAILABLE),
]

IN_CI = [TARGETS[0], TARGETS[4]]
LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("server", "sink", "mode"),
    [
        pytest.param(*each, id=f"{each[0]}-{each[2].name.lower()}", marks=[] if each in IN_CI else LONG)
        for each in TARGETS
    ],
)
def test_a_target_is_out_and_the_other_goes_on(scene: Scene, server: str, sink: int, mode: Mode) -> None:
    sinks = scene.sinks()
    scene.write(200)
    sinks.start()
    scene.wait_equal()
    scene.proxies[server].mode = mode
    scene.write(2000)
    reason = wait_until(lambda: sinks.degraded(sink), 60, what="degraded, and why")
    assert {PG: "PostgreSQL", ES: "Elasticsearch"}[sink] in reason or "target" in reason
    before = sinks.memory_mib()
    scene.write(2000)
    other = 1 - sink
    wait_until(lambda: sinks.report(other)["state"] == "idle", 60, what="the other target is drained")
    assert sinks.report(other)["error"] is None
    assert sinks.memory_mib() - before < 64
    scene.proxies[server].mode = Mode.PASS
    scene.wait_equal()
    assert sinks.parked() == 0
    assert sinks.process.poll() is None
    wait_until(lambda: sinks.states() <= {"running", "idle"}, 30)


def test_postgres_is_read_only_for_a_while(scene: Scene, administer: Callable[[str], None]) -> None:
    sinks = scene.sinks()
    sinks.start()
    administer("ALTER DATABASE replica SET default_transaction_read_only = on")
    try:
        scene.proxies["postgres"].cut()
        scene.write(200)
        wait_until(lambda: "read_only" in sinks.degraded(PG), 30)
    finally:
        administer("ALTER DATABASE replica RESET default_transaction_read_only")
    scene.wait_equal()
    assert sinks.parked() == 0


def test_the_registry_is_out_when_a_new_schema_comes(scene: Scene) -> None:
    sinks = scene.sinks()
    sinks.start()
    scene.proxies["registry"].mode = Mode.REFUSE
    scene.write(200)
    assert "registry" in wait_until(lambda: sinks.degraded(PG), 30)
    assert "registry" in wait_until(lambda: sinks.degraded(ES), 30)
    scene.proxies["registry"].mode = Mode.PASS
    scene.wait_equal()
    assert sinks.parked() == 0


@pytest.mark.long
@pytest.mark.parametrize("server", ["postgres", "elasticsearch", "kafka", "registry", "connect"])
def test_a_server_is_killed_under_traffic(scene: Scene, server: str) -> None:
    sinks = scene.sinks()
    sinks.start()
    sessions = scene.start_writing(4000)
    scene.stack.kill(server)
    scene.stack.start(server)
    for session in sessions:
        session.join()
        assert session.error is None
    scene.wait_equal()
    assert sinks.parked() == 0
    assert sinks.process.poll() is None
    wait_until(lambda: sinks.states() <= {"running", "idle"}, 60)


@pytest.mark.long
def test_kafka_hangs(scene: Scene) -> None:
    sinks = scene.sinks()
    sinks.start()
    scene.write(200)
    scene.wait_equal()
    broker = scene.stack.process("kafka")
    broker.signal(signal.SIGSTOP)
    try:
        assert "Kafka" in wait_until(lambda: sinks.degraded(PG), 120, what="degraded, and why")
    finally:
        broker.signal(signal.SIGCONT)
    scene.write(200)
    scene.wait_equal()
    assert sinks.parked() == 0
