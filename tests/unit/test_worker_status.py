from __future__ import annotations

from sinks.breaker import BreakerState
from sinks.change import Progress, TopicPartition
from sinks.errors import OutageError
from sinks.health import State, WorkerReport, WorkerStatus

ORDERS = TopicPartition("cdc.shop.orders", 0)
ITEMS = TopicPartition("cdc.shop.items", 0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def progress(offset: int, source_ms: int = 0, **counts: int) -> Progress:
    return Progress(offset, gtid=f"u:{offset}", source_ms=source_ms, counts=counts)


def test_a_drained_worker_is_idle_though_markers_follow() -> None:
    status = WorkerStatus("replica", Clock())
    status.set_state(State.RUNNING)
    status.record_applied({ORDERS: progress(10, 999_000, c=10)}, 1_000_000)
    status.record_position(ORDERS, 11, at_end=False)
    assert (status.report().state, status.report().lag.records) == (State.RUNNING, 1)
    status.record_position(ORDERS, 11, at_end=True)
    report = status.report()
    assert (report.state, report.lag.records, report.lag.seconds) == (State.IDLE, 0, 0)


def test_after_a_quiet_hour_the_lag_is_the_wait_and_not_the_quiet() -> None:
    clock = Clock()
    status = WorkerStatus("replica", clock)
    status.record_applied({ORDERS: progress(10, 900_000)}, 900_000)
    clock.now = 4600
    status.record_position(ORDERS, 10, at_end=True)
    clock.now = 4602
    status.record_position(ORDERS, 12, at_end=False)
    lag = status.report().lag
    assert (lag.records, lag.seconds) == (2, 2)


def test_a_partition_never_drained_lags_since_its_last_change() -> None:
    status = WorkerStatus("replica", Clock())
    status.record_applied({ORDERS: progress(10, 990_000), ITEMS: progress(4, 995_000)}, 1_000_000)
    status.record_position(ORDERS, 30, at_end=False)
    status.record_position(ITEMS, 5, at_end=False)
    lag = status.report().lag
    assert (lag.records, lag.seconds) == (21, 10)


def test_counts_add_up_and_revoked_partitions_go() -> None:
    status = WorkerStatus("replica", Clock())
    status.record_applied({ORDERS: progress(10, 5, c=2), ITEMS: progress(4, 6, c=1, d=1)}, 1_000_000)
    assert status.report().counts == {"c": 3, "d": 1}
    assert status.report().gtid == "u:4"
    status.revoked([ITEMS])
    assert status.report().counts == {"c": 2}


def test_the_json_reads_back_and_holds_no_password() -> None:
    clock = Clock()
    status = WorkerStatus("replica", clock)
    clock.now = 1001
    status.set_state(State.DEGRADED, OutageError("no answer", where="postgresql://u:secret@h/d", hint="wait"))
    status.breaker(BreakerState.OPEN)
    status.retry()
    report = WorkerReport.model_validate(status.as_json())
    assert report == status.report()
    assert report.error is not None
    assert report.error.where == "postgresql://u:*****@h/d"
    assert (report.since_ms, report.breaker, report.retries) == (1_001_000, "open", 1)
    assert not status.ready


def test_a_loop_that_stands_still_is_dead() -> None:
    clock = Clock()
    status = WorkerStatus("replica", clock)
    assert status.dead_because(60) == ""
    status.beat()
    clock.now += 61
    assert "not turned for 61 s" in status.dead_because(60)
    status.beat()
    status.set_state(State.FAILED)
    assert status.dead_because(60) == "the worker has failed"
