"""Of two owners of a partition only the later one writes, however the earlier one is stuck."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from sinks.change import Progress, TopicPartition
from sinks.errors import CdcError, FatalError, FencedError, OutageError
from sinks.targets.base import Batch, Claim
from sinks.targets.postgres import PostgresOptions, PostgresTarget, Step
from tests.postgres.changes import INT, changes, table
from tests.postgres.conftest import P0, TOPIC_ID, MakeTarget, Sink, terminate

if TYPE_CHECKING:
    from collections.abc import Callable

    from sinks.targets.base import Segment

pytestmark = pytest.mark.stack

QUICK = PostgresOptions(takeover_grace_s=0.2, lock_timeout_s=3)


def test_an_earlier_owner_cannot_write(make_target: MakeTarget, query: Callable[..., Any]) -> None:
    schema = table("outrun", {"id": INT, "v": INT}, ["id"])
    old = Sink(make_target("outrun"), P0)
    old.apply(changes(schema, [(0, "+", (1, 1))]))
    new = Sink(make_target("outrun"), P0)
    with pytest.raises(FencedError):
        old.apply(changes(schema, [(1, "+", (1, 2)), (1, "+", (2, 2))]))
    assert query("SELECT id, v FROM shop.outrun") == [(1, 1)]
    new.apply(changes(schema, [(1, "+", (1, 3))]))
    assert query("SELECT id, v FROM shop.outrun") == [(1, 3)]
    with pytest.raises(FencedError):
        old.apply()


def test_an_idle_earlier_owner_keeps_its_session(make_target: MakeTarget) -> None:
    """It may own other partitions: losing one is no reason to lose its connection."""
    other = TopicPartition(P0.topic, 1)
    old = make_target("idle")
    old.claim([Claim(P0, TOPIC_ID, 2), Claim(other, TOPIC_ID, 2)])
    new = make_target("idle")
    new.claim([Claim(P0, TOPIC_ID, 2)])
    old.apply(Batch([], {other: Progress(5)}), lambda _: None)
    assert old.stored()[other].progress.next_offset == 5


class Frozen:
    """A worker that stops in the middle of a batch, with its transaction open, until let go."""

    def __init__(self, make_target: MakeTarget, name: str, step: Step) -> None:
        self.stopped = threading.Event()
        self.let_go = threading.Event()
        self.error: BaseException | None = None
        self._step: Step | None = None
        self.sink = Sink(make_target(name, reached=self._reached, options=QUICK), P0)
        self._frozen_at = step

    def _reached(self, step: Step) -> None:
        if step is self._step:
            self.stopped.set()
            assert self.let_go.wait(60)

    def apply(self, *segments: Segment) -> None:
        self._step = self._frozen_at
        self._thread = threading.Thread(target=self._run, args=segments)
        self._thread.start()
        assert self.stopped.wait(30)

    def _run(self, *segments: Segment) -> None:
        try:
            self.sink.apply(*segments)
        except CdcError as error:
            self.error = error

    def wake(self) -> None:
        self.let_go.set()
        self._thread.join(30)


@pytest.mark.parametrize("step", [Step.WRITTEN, Step.STORED])
def test_a_frozen_owner_with_row_locks_is_terminated(
    make_target: MakeTarget, query: Callable[..., Any], step: Step
) -> None:
    name = f"frozen_{step.name.lower()}"
    schema = table(name, {"id": INT, "v": INT}, ["id"])
    frozen = Frozen(make_target, name, step)
    frozen.sink.apply(changes(schema, [(0, "+", (1, 1))]))
    frozen.apply(changes(schema, [(1, "+", (1, 2))]))
    begun = time.monotonic()
    successor = Sink(make_target(name, options=QUICK), P0)
    assert successor.next_offset == 1
    successor.apply(changes(schema, [(1, "+", (1, 3))]))
    assert time.monotonic() - begun < 3
    frozen.wake()
    assert isinstance(frozen.error, OutageError)
    assert query(f"SELECT v FROM shop.{name}") == [(3,)]


def test_a_slow_owner_that_ends_in_time_is_not_terminated(make_target: MakeTarget) -> None:
    frozen = Frozen(make_target, "slow", Step.STORED)
    frozen.apply()

    def sleep(seconds: float) -> None:
        frozen.let_go.set()
        time.sleep(seconds)

    successor = Sink(make_target("slow", sleep=sleep, options=PostgresOptions(takeover_grace_s=30)), P0)
    frozen.wake()
    assert frozen.error is None
    assert successor.next_offset == 1  # what the slow one committed is not lost


def test_a_reused_process_id_is_left_alone(
    make_target: MakeTarget, dsn: str, query: Callable[..., Any]
) -> None:
    Sink(make_target("reused"), P0).target.close()
    stranger = psycopg2.connect(dsn)
    with stranger.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")  # leaves a transaction open
        pid = (cursor.fetchone() or (0,))[0]
        query("UPDATE cdc.partition SET backend_pid = %s WHERE sink = 'reused'", pid)
        Sink(make_target("reused", options=QUICK), P0)
        cursor.execute("SELECT 1")
    stranger.close()


def test_a_strangers_lock_is_an_outage_not_an_endless_wait(
    make_target: MakeTarget, dsn: str, query: Callable[..., Any]
) -> None:
    options = PostgresOptions(lock_timeout_s=1)
    Sink(make_target("locked", options=options), P0)
    stranger = psycopg2.connect(dsn)
    with stranger.cursor() as cursor:
        cursor.execute("SELECT FROM cdc.partition WHERE sink = 'locked' FOR UPDATE")
        with pytest.raises(OutageError):
            Sink(make_target("locked", options=options), P0)
    stranger.close()
    Sink(make_target("locked", options=options), P0)
    assert query("SELECT lease FROM cdc.partition WHERE sink = 'locked'") == [(2,)]


def test_offsets_never_go_back(sink: Sink) -> None:
    sink.target.apply(Batch([], {P0: Progress(10)}), sink.park)
    with pytest.raises(FatalError, match="would go back from 10 to 9"):
        sink.target.apply(Batch([], {P0: Progress(9)}), sink.park)
    assert sink.target.stored()[P0].progress.next_offset == 10


def test_a_partition_that_is_not_claimed_is_not_written(make_target: MakeTarget) -> None:
    target = make_target()
    with pytest.raises(FencedError):
        target.apply(Batch([], {P0: Progress(1)}), lambda _: None)
    target.claim([Claim(P0, TOPIC_ID, 1)])
    target.release([P0])
    with pytest.raises(FencedError):
        target.apply(Batch([], {P0: Progress(1)}), lambda _: None)


def test_a_lost_session_has_to_claim_again(sink: Sink, query: Callable[..., Any]) -> None:
    sink.apply()
    terminate(query, sink.target.name)
    for _ in range(2):
        with pytest.raises(OutageError):
            sink.apply()
    sink.target.ping()
    sink.claim()
    assert sink.next_offset == 1
    sink.apply()


def test_a_server_that_is_not_there_is_an_outage() -> None:
    target = PostgresTarget("nowhere", "host=127.0.0.1 port=1 dbname=x password=hush")
    for call in (target.ping, target.stored, lambda: target.claim([Claim(P0, TOPIC_ID, 1)])):
        with pytest.raises(OutageError) as error:
            call()
        assert "hush" not in str(error.value)
    target.close()
    target.close()
