from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sinks.change import Progress, TopicPartition
from sinks.connect_api import ConnectorStatus, TaskStatus
from sinks.errors import FatalError, OutageError
from sinks.health import (
    ErrorReport,
    Facts,
    Lag,
    SinkFacts,
    SourceFacts,
    State,
    Thresholds,
    WorkerReport,
    assess,
)
from sinks.health.report import schema
from sinks.kafka.admin import Remaining
from sinks.mysql.source import SourceState
from sinks.targets.base import Stored

if TYPE_CHECKING:
    from sinks.health import Report

NOW = 10_000_000
ORDERS = TopicPartition("cdc.shop.orders", 0)
STORED = {
    ORDERS: Stored(Progress(10, gtid="u:7", source_ms=NOW - 500_000, counts={"c": 9, "parked": 1}), 0, 1, NOW)
}
WORKER = WorkerReport(sink="replica", state=State.IDLE, since_ms=NOW - 5)
SINK = SinkFacts("replica", "postgres", "http://w", WORKER, STORED, None, {ORDERS: Remaining(0, 11)})
RUNNING = ConnectorStatus("RUNNING", (TaskStatus(0, "RUNNING"),))
FACTS = Facts(
    NOW,
    [SINK],
    "mysql-source",
    SourceFacts("m:3306", SourceState("9.7", "ON", "u:1-7")),
    RUNNING,
    heartbeat_ms=NOW - 1000,
)


def judged(facts: Facts) -> Report:
    return assess(facts, Thresholds())


def with_sink(**changes: object) -> Report:
    return judged(replace(FACTS, sinks=[replace(SINK, **changes)]))  # type: ignore[arg-type]


def test_a_drained_pipe_is_healthy() -> None:
    report = judged(FACTS)
    assert (report.healthy, report.exit_code) == (True, 0)
    assert report.summary == "HEALTHY: replica keeps up; 0 changes wait"
    sink = report.sinks[0]
    assert (sink.state, sink.lag, sink.gtid, sink.dead_letters) == (State.IDLE, Lag(), "u:7", 1)


def test_a_stopped_worker_is_told_from_an_idle_one() -> None:
    report = with_sink(worker=None)
    assert (report.sinks[0].state, report.exit_code) == (State.STOPPED, 1)
    assert report.sinks[0].lag == Lag()
    assert report.sinks[0].counts == {"c": 9, "parked": 1}
    assert report.findings[0].hint == "Start it: 'cdc run --sink replica'"


def test_an_unreachable_target_is_told_from_a_stopped_worker() -> None:
    error = OutageError("no answer", where="h:1")
    degraded = WORKER.model_copy(update={"state": State.DEGRADED, "lag": Lag(records=3, seconds=2)})
    report = with_sink(worker=degraded, stored=None, target_error=error, remaining=None)
    assert [finding.what for finding in report.findings] == ["its target, postgres, can't be used: no answer"]
    assert (report.sinks[0].state, report.sinks[0].target_reachable) == (State.DEGRADED, False)
    assert report.sinks[0].lag == Lag(records=3, seconds=2)
    assert report.exit_code == 1


def test_lag_is_how_long_the_oldest_waits() -> None:
    report = with_sink(remaining={ORDERS: Remaining(5, 15, NOW - 61_000)})
    assert report.sinks[0].lag == Lag(records=5, seconds=61)
    assert "5 changes wait, the oldest for 61 s" in report.summary
    report = with_sink(remaining={ORDERS: Remaining(5, 15, NOW - 1000)})
    assert report.healthy


def test_lag_without_a_timestamp_counts_from_the_last_change_applied() -> None:
    assert with_sink(remaining={ORDERS: Remaining(5, 15)}).sinks[0].lag == Lag(records=5, seconds=500)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.STARTING, "is starting"),
        (State.PAUSED, "is paused"),
        (State.DEGRADED, "retries: boom"),
        (State.FAILED, "has failed: boom"),
    ],
)
def test_each_state_that_applies_nothing_is_a_finding(state: State, words: str) -> None:
    error = ErrorReport(what="boom") if state in {State.DEGRADED, State.FAILED} else None
    report = with_sink(worker=WORKER.model_copy(update={"state": state, "error": error}))
    assert words in report.summary
    assert report.exit_code == 1


@pytest.mark.parametrize(
    ("connector", "words"),
    [
        (None, "no such connector"),
        (ConnectorStatus("PAUSED", ()), "PAUSED. Resume it"),
        (ConnectorStatus("FAILED", (), "org.E: x"), "FAILED: org.E: x"),
        (ConnectorStatus("RUNNING", ()), "no task"),
        (ConnectorStatus("RUNNING", (TaskStatus(0, "FAILED", "org.G: y"),)), "task 0 has failed: org.G: y"),
    ],
)
def test_the_connector_is_judged(connector: ConnectorStatus | None, words: str) -> None:
    assert words in judged(replace(FACTS, connector=connector)).summary


def test_a_connector_that_hangs_is_found_by_its_heartbeat() -> None:
    report = judged(replace(FACTS, heartbeat_ms=NOW - 300_000))
    assert "says RUNNING, but its last heartbeat is 300 s old" in report.summary
    assert "not sent a heartbeat" in judged(replace(FACTS, heartbeat_ms=None)).summary


def test_the_source_is_judged() -> None:
    off = SourceFacts("m:3306", SourceState("9.7", "OFF", ""))
    assert "gtid_mode is OFF" in judged(replace(FACTS, source=off)).summary
    refused = SourceFacts("m:3306", error=FatalError("MySQL refuses the user 'x'", hint="check it"))
    assert judged(replace(FACTS, source=refused)).summary.endswith("refuses the user 'x'. Check it")


def test_when_nothing_answers_the_code_is_3() -> None:
    down = OutageError("down")
    sink = replace(SINK, worker=None, stored=None, target_error=down, remaining=None)
    source = SourceFacts("m:3306", error=down)
    report = judged(
        Facts(NOW, [sink], "c", source, connect_error=down, kafka_error=OutageError("down", where="k:1"))
    )
    assert report.exit_code == 3
    assert report.sinks[0].lag is None
    assert {finding.subject for finding in report.findings} == {
        "kafka",
        "sink replica",
        "connector c",
        "source",
    }


def test_the_schema_on_disk_is_the_code_s() -> None:
    on_disk = Path(__file__).parents[2] / "docs/health.schema.json"
    assert on_disk.read_text(encoding="utf-8") == schema(), "run 'make schema'"
