"""What PostgreSQL refuses for its content is cut out and parked; the rest of the batch is there."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sinks.change import TopicPartition
from sinks.errors import FatalError
from sinks.table_schema import MysqlType
from sinks.targets.postgres import PostgresOptions
from tests.postgres.changes import INT, JSON, TEXT, changes, table
from tests.postgres.conftest import P0, MakeTarget, Sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from sinks.targets.base import RowChanges

pytestmark = pytest.mark.stack

SECRET = "s3cr3t"
POISON: list[tuple[str, MysqlType, Any, str]] = [
    ("nul", TEXT, f"{SECRET}\0", "22021"),
    ("jsonb_nul", JSON, f'{{"a": "{SECRET}\\u0000"}}', "22P05"),
    ("json_text", JSON, f'{{"{SECRET}', "22P02"),
    ("json_depth", JSON, "[" * 100_000 + "]" * 100_000, "54001"),
    ("decimal", MysqlType("DECIMAL", 4, 2), "123456.78", "22003"),
    ("integer", MysqlType("SMALLINT"), 70_000, "22003"),
    ("long", MysqlType("VARCHAR", 3), SECRET, "22001"),
    ("timestamp", MysqlType("TIMESTAMP"), f"{SECRET}", "22007"),
    ("null", TEXT, None, "23502"),
]


@pytest.mark.parametrize("direct", [True, False], ids=["literals", "staged"])
@pytest.mark.parametrize(("name", "type_", "value", "code"), POISON, ids=[p[0] for p in POISON])
def test_one_bad_row(  # noqa: PLR0917 (fixtures and parameters)
    make_target: MakeTarget,
    query: Callable[..., Any],
    name: str,
    type_: MysqlType,
    value: object,
    code: str,
    *,
    direct: bool,
) -> None:
    sink = Sink(make_target(options=PostgresOptions(direct_cells=10**6 if direct else 0)), P0)
    relation = f"bad_{name}_{direct}".lower()
    schema = table(relation, {"id": INT, "v": type_}, ["id"])
    good = {"22021": "x", "22P05": "1", "22P02": "1", "54001": "1", "22007": "2024-01-01T00:00:00Z"}.get(
        code, 1 if name == "integer" else "1"
    )
    sink.apply(changes(schema, [(0, "+", (0, good))]))
    if name == "null":
        query(f"ALTER TABLE shop.{relation} ALTER v SET NOT NULL")
    sink.apply(changes(schema, [(i, "+", (i, value if i == 7 else good)) for i in range(1, 20)]))
    assert query(f"SELECT count(*), count(*) FILTER (WHERE id = 7) FROM shop.{relation}") == [(19, 0)]
    (rejection,) = sink.parked
    assert (rejection.partition, rejection.offset) == (P0, 7)
    assert rejection.reason.startswith(code)
    assert SECRET not in rejection.reason
    assert str(value) not in rejection.reason
    if not direct and code in {"22P02", "22007", "22003", "22001"}:
        assert rejection.reason.endswith("(column v)")
    assert sink.target.stored()[P0].progress.next_offset == 2


def test_changes_before_the_refused_one_are_applied_and_later_ones_parked(
    sink: Sink, query: Callable[..., Any]
) -> None:
    schema = table("history", {"id": INT, "v": TEXT}, ["id"])
    sink.apply(
        changes(
            schema,
            [
                (0, "+", (1, "a")),
                (1, "+", (2, "x")),
                (2, "+", (1, "b")),
                (3, "+", (1, "\0")),
                (4, "+", (1, "c")),
                (5, "-", (1, "c")),
                (6, "+", (1, "\0")),
                (7, "+", (3, "y")),
            ],
        )
    )
    assert query("SELECT id, v FROM shop.history ORDER BY id") == [(1, "b"), (2, "x"), (3, "y")]
    assert [r.offset for r in sink.parked] == [3, 4, 5, 6]
    assert "follows the refused change of its key at offset 3" in sink.parked[-1].reason


def test_a_refused_change_that_is_overtaken_in_the_batch_is_never_written(
    sink: Sink, query: Callable[..., Any]
) -> None:
    schema = table("overtaken", {"id": INT, "v": TEXT}, ["id"])
    sink.apply(changes(schema, [(0, "+", (1, "\0")), (1, "+", (1, "fine"))]))
    assert query("SELECT v FROM shop.overtaken") == [("fine",)]
    assert sink.parked == []


def elsewhere(segment: RowChanges) -> RowChanges:
    """Return the same changes from another topic."""
    return replace(segment, partition=TopicPartition("cdc.shop.elsewhere", 0))


def test_later_segments_follow_a_refused_change(sink: Sink, query: Callable[..., Any]) -> None:
    keyed = table("parted", {"id": INT, "v": TEXT}, ["id"])
    keyless = table("parted_log", {"v": TEXT})
    sink.apply(
        changes(keyed, [(0, "+", (1, "\0")), (1, "+", (2, "a"))]),
        elsewhere(changes(keyless, [(2, "+", ("a",)), (3, "+", ("\0",))])),
        changes(keyed, [(5, "+", (1, "b")), (6, "+", (2, "b"))]),
        elsewhere(changes(keyless, [(7, "-", ("a",)), (7, "+", ("b",))])),
    )
    assert [r.offset for r in sink.parked] == [0, 3, 5, 7]
    assert sink.parked[-1].reason == "follows the refused change of its key at offset 3"
    assert query("SELECT id, v FROM shop.parted") == [(2, "b")]
    assert query("SELECT v FROM shop.parted_log") == [("a",)]


def test_many_bad_rows_among_many(sink: Sink, query: Callable[..., Any]) -> None:
    seed = 20261123
    bad = set(random.Random(seed).sample(range(5000), 40))
    schema = table("many", {"id": INT, "v": TEXT}, ["id"])
    sink.apply(changes(schema, [(i, "+", (i, "\0" if i in bad else "x")) for i in range(5000)]))
    assert {r.offset for r in sink.parked} == bad
    assert query("SELECT count(*) FROM shop.many") == [(4960,)]


def test_poison_in_one_segment_leaves_the_others(sink: Sink, query: Callable[..., Any]) -> None:
    one = table("poisoned", {"id": INT, "v": TEXT}, ["id"])
    other = table("unharmed", {"id": INT, "v": TEXT}, ["id"])
    sink.apply(
        changes(other, [(0, "+", (1, "a"))]),
        elsewhere(changes(one, [(1, "+", (1, "\0"))])),
        changes(other, [(2, "+", (1, "b"))]),
    )
    assert query("SELECT v FROM shop.unharmed") == [("b",)]
    assert query("SELECT v FROM shop.poisoned") == []
    assert len(sink.parked) == 1


def test_a_keyless_tables_rows_from_the_refused_one_on_are_parked(
    sink: Sink, query: Callable[..., Any]
) -> None:
    schema = table("keyless_bad", {"v": TEXT})
    rows = [(i, "+", (f"v{i}",)) for i in range(50)]
    rows[30] = (30, "+", ("\0",))
    rows[20:20] = [(20, "-", ("v1",))]  # an update: old and new row under one offset
    sink.apply(changes(schema, rows))
    assert sorted(r.offset for r in sink.parked) == list(range(30, 50))
    assert query("SELECT count(*) FROM shop.keyless_bad") == [(29,)]


def test_a_deleted_row_is_never_refused_for_what_it_held(
    make_target: MakeTarget, query: Callable[..., Any]
) -> None:
    sink = Sink(make_target(options=PostgresOptions(direct_cells=0)), P0)
    schema = table("gone", {"id": INT, "v": TEXT}, ["id"])
    sink.apply(changes(schema, [(0, "+", (1, "a"))]))
    sink.apply(changes(schema, [(1, "-", (1, "\0")), (2, "+", (2, "b"))]))
    assert query("SELECT id FROM shop.gone") == [(2,)]
    assert sink.parked == []


def test_two_source_keys_that_are_one_in_postgres(make_target: MakeTarget, query: Callable[..., Any]) -> None:
    """The later one wins, as one by one, rather than the batch being refused."""
    sink = Sink(make_target(options=PostgresOptions(direct_cells=0)), P0)
    schema = table("zero", {"k": MysqlType("DOUBLE"), "v": INT}, ["k"])
    sink.apply(changes(schema, [(0, "+", (0.0, 1)), (1, "+", (-0.0, 2))]))
    assert query("SELECT v FROM shop.zero") == [(2,)]
    assert sink.parked == []


def test_what_is_no_datas_fault_is_fatal(sink: Sink, query: Callable[..., Any]) -> None:
    schema = table("rights", {"id": INT}, ["id"])
    sink.apply(changes(schema, [(0, "+", (1,))]))
    query(
        "CREATE FUNCTION shop.no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'row % is secret', NEW.id; END$$"
    )
    query("CREATE TRIGGER no BEFORE INSERT ON shop.rights FOR EACH ROW EXECUTE FUNCTION shop.no()")
    with pytest.raises(FatalError, match="P0001") as error:
        sink.apply(changes(schema, [(1, "+", (4711,))]))
    assert "4711" not in str(error.value)
    assert sink.parked == []
