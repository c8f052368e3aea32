"""A batch is there as a whole or not at all, wherever the process dies."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from sinks.errors import OutageError
from sinks.targets.postgres import PostgresOptions, Step
from tests.postgres.changes import INT, TEXT, changes, table, truncation
from tests.postgres.conftest import P0, MakeTarget, Sink, terminate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sinks.targets.base import Rejection

pytestmark = pytest.mark.stack


class DiedError(Exception):
    pass


@pytest.mark.parametrize("clean", [True, False], ids=["exception", "killed"])
@pytest.mark.parametrize("step", list(Step))
def test_death_at_each_step(
    make_target: MakeTarget, query: Callable[..., Any], step: Step, *, clean: bool
) -> None:
    name = f"died_{step.name}_{clean}".lower()
    keyed = table(name, {"id": INT, "v": TEXT}, ["id"])
    keyless = table(f"{name}_log", {"v": TEXT})
    armed = False

    def reached(at: Step) -> None:
        if armed and at is step:
            if not clean:
                terminate(query, name)
            raise DiedError

    sink = Sink(make_target(name, reached=reached), P0)
    sink.apply(changes(keyed, [(0, "+", (1, "a"))]), changes(keyless, [(1, "+", ("a",))]))
    armed = True
    segments = (
        truncation(keyed, 2),
        changes(keyed, [(3, "+", (2, "b")), (4, "+", (3, "no\0"))]),
        changes(keyless, [(5, "+", ("b",))]),
    )
    with pytest.raises(DiedError):
        sink.apply(*segments)
    after = step is Step.COMMITTED
    rows = [(2, "b")] if after else [(1, "a")]
    lines = [("a",), ("b",)] if after else [("a",)]
    armed = False
    assert query(f"SELECT * FROM shop.{name}") == rows
    assert query(f"SELECT * FROM shop.{name}_log ORDER BY v") == lines
    with suppress(OutageError):
        sink.claim()
    sink.claim()
    assert sink.next_offset == (2 if after else 1)
    if not after:
        sink.apply(*segments)
    assert query(f"SELECT * FROM shop.{name}") == [(2, "b")]
    assert query(f"SELECT * FROM shop.{name}_log ORDER BY v") == [("a",), ("b",)]
    assert {rejection.offset for rejection in sink.parked} == {4}


def test_nothing_is_committed_when_parking_fails(sink: Sink, query: Callable[..., Any]) -> None:
    schema = table("unparked", {"id": INT, "v": TEXT}, ["id"])
    seen: list[Rejection] = []

    def park(rejections: Sequence[Rejection]) -> None:
        seen.extend(rejections)
        # In the middle of the transaction: nobody sees a row yet.
        assert query("SELECT to_regclass('shop.unparked')") == [(None,)]
        raise DiedError

    batch = sink.batch(changes(schema, [(0, "+", (1, "a")), (1, "+", (2, "\0"))]))
    with pytest.raises(DiedError):
        sink.target.apply(batch, park)
    assert sink.target.stored()[P0].progress.next_offset == 0
    sink.target.apply(batch, sink.park)
    assert sink.parked == seen
    assert query("SELECT id FROM shop.unparked") == [(1,)]


def test_caches_survive_a_rolled_back_batch(make_target: MakeTarget, query: Callable[..., Any]) -> None:
    """Table and staging table made in the lost transaction are made again."""
    armed = True

    def reached(step: Step) -> None:
        if armed and step is Step.STORED:
            raise DiedError

    sink = Sink(make_target(reached=reached, options=PostgresOptions(direct_cells=0)), P0)
    schema = table("lost_ddl", {"id": INT}, ["id"])
    with pytest.raises(DiedError):
        sink.apply(changes(schema, [(0, "+", (1,))]))
    armed = False
    sink.apply(changes(schema, [(0, "+", (1,))]))
    assert query("SELECT id FROM shop.lost_ddl") == [(1,)]


def test_segments_are_in_effect_in_order(sink: Sink, query: Callable[..., Any]) -> None:
    schema = table("ordered", {"id": INT, "v": INT}, ["id"])
    sink.apply(
        truncation(schema),  # of a table that is not there yet
        changes(schema, [(1, "+", (1, 1)), (2, "+", (2, 1)), (3, "-", (1, 1))]),
        changes(schema, [(4, "+", (1, 2)), (5, "+", (1, 3)), (6, "-", (2, 1)), (7, "+", (2, 9))]),
        truncation(schema, 8),
        changes(schema, [(9, "+", (5, 5))]),
    )
    assert query("SELECT id, v FROM shop.ordered") == [(5, 5)]


def test_staging_tables_are_bounded(make_target: MakeTarget, query: Callable[..., Any]) -> None:
    sink = Sink(make_target("bounded", options=PostgresOptions(direct_cells=0, staging_tables=3)), P0)
    schemas = [table(f"bounded_{i}", {"id": INT}, ["id"]) for i in range(6)]
    for value in range(3):
        sink.apply(*(changes(schema, [(0, "+", (value,))]) for schema in schemas))
    assert query("SELECT count(*) FROM pg_class WHERE relname LIKE 'cdc_stage_%%' AND relkind = 'r'") == [
        (3,)
    ]
    assert query("SELECT count(*) FROM shop.bounded_5") == [(3,)]


def test_a_truncate_does_not_wait_for_a_reader(sink: Sink, dsn: str, query: Callable[..., Any]) -> None:
    schema = table("read", {"id": INT}, ["id"])
    sink.apply(changes(schema, [(0, "+", (1,))]))
    reader = psycopg2.connect(dsn)
    reader.set_session(isolation_level="REPEATABLE READ")
    with reader.cursor() as cursor:
        cursor.execute("SELECT id FROM shop.read")
        sink.apply(truncation(schema))
        assert query("SELECT count(*) FROM shop.read") == [(0,)]
        cursor.execute("SELECT id FROM shop.read")
        assert cursor.fetchall() == [(1,)]
    reader.close()
