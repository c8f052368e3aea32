"""Replica tables look like the source's, under any name, and follow what its schema gains or loses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sinks.errors import FatalError
from sinks.table_schema import MysqlType
from sinks.targets.postgres.identifiers import MAX_BYTES, quoted, stored_name
from tests.postgres.changes import BIGINT, INT, TEXT, VARCHAR, changes, table, truncation
from tests.postgres.conftest import P0, MakeTarget, Sink

if TYPE_CHECKING:
    from collections.abc import Callable

NASTY = [
    'quo"te',
    "semi;colon",
    "new\nline",
    "select",
    "Ünïcödé 漢字",
    "it's",
    "per%cent %s",
    "dollar$$",
    "tab\t",
    "back\\slash",
    "CamelCase",
    " space ",
    "x" * 64,
    "漢" * 64,
    "c0",
    "op",
    "ctid_",
    "offset",
]


def test_long_names_stay_apart() -> None:
    names = ["漢" * 63 + end for end in "abc"] + ["x" * 63 + end for end in "abc"]
    stored = {stored_name(name) for name in names}
    assert len(stored) == len(names)
    assert all(len(name.encode()) <= MAX_BYTES for name in stored)
    assert stored_name("x" * 63) == "x" * 63
    assert quoted('a"b') == '"a""b"'


@pytest.mark.stack
def test_a_table_looks_like_its_source(sink: Sink, query: Callable[..., Any]) -> None:
    schema = table(
        "looks",
        {"b": VARCHAR, "a": MysqlType("BIGINT UNSIGNED"), "c": MysqlType("DECIMAL", 12, 3), "d": TEXT},
        ["a", "b"],
    )
    sink.apply(changes(schema, [(0, "+", ("k", 1, "1.5", None))]))
    assert query(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_name = 'looks' ORDER BY ordinal_position"
    ) == [
        ("b", "character varying", "NO"),
        ("a", "numeric", "NO"),
        ("c", "numeric", "YES"),
        ("d", "text", "YES"),
    ]
    assert query("SELECT pg_get_indexdef('shop.looks_pkey'::regclass)")[0][0].endswith("(a, b)")


@pytest.mark.stack
def test_nasty_names(sink: Sink, query: Callable[..., Any]) -> None:
    for name in NASTY:
        schema = table(
            name, {"id": INT, **{f"{column}": TEXT for column in NASTY}}, ["id"], database=f"{name[:60]}_"
        )
        rows = [(i, "+", (i, *NASTY)) for i in range(60)]
        sink.apply(changes(schema, rows[:1]))
        sink.apply(changes(schema, rows))
        sink.apply(changes(schema, [(100, "-", rows[0][2])]))
        relation = f"{quoted(schema.table.database)}.{quoted(name)}".replace("%", "%%")
        assert query(f"SELECT count(*) FROM {relation}", 1) == [(59,)]
        bare = table(name, {"a": INT, **{f"{column}": TEXT for column in NASTY}}, database=f"{name[:50]}-")
        sink.apply(changes(bare, [(0, "+", (1, *NASTY)), (1, "+", (1, *NASTY))]))
        sink.apply(changes(bare, [(2, "-", (1, *NASTY))]))
        relation = f"{quoted(bare.table.database)}.{quoted(name)}".replace("%", "%%")
        assert query(f"SELECT count(*) FROM {relation}", 1) == [(1,)]
        sink.apply(truncation(bare))
    assert sink.parked == []
    assert query("SELECT count(*) FROM cdc.replica_table WHERE source_table = %s", "x" * 64) == [(2,)]


@pytest.mark.stack
def test_three_hundred_columns_and_a_megabyte(sink: Sink, query: Callable[..., Any]) -> None:
    columns = {f"column_{i}": TEXT if i % 2 else BIGINT for i in range(300)}
    schema = table("wide", {"id": INT, **columns}, ["id"])
    row = tuple(f"v{i}" if i % 2 else i for i in range(300))
    sink.apply(changes(schema, [(i, "+", (i, *row)) for i in range(200)]))
    sink.apply(changes(schema, [(i, "+", (i, *row)) for i in range(2)]))
    assert query("SELECT count(*), max(column_298), max(column_299) FROM shop.wide") == [(200, 298, "v299")]
    big = table("big", {"id": INT, "v": TEXT, "b": MysqlType("LONGBLOB")}, ["id"])
    text, blob = '"\\\n,ä' * 200_000, bytes(range(256)) * 4096
    sink.apply(changes(big, [(0, "+", (1, text, blob))]))
    ((got_text, got_blob),) = query("SELECT v, b FROM shop.big")
    assert got_text == text
    assert bytes(got_blob) == blob


@pytest.mark.stack
def test_columns_come_and_go(sink: Sink, query: Callable[..., Any]) -> None:
    sink.apply(changes(table("grows", {"id": INT, "a": INT}, ["id"]), [(0, "+", (1, 1))]))
    query("ALTER TABLE shop.grows ALTER a SET NOT NULL")
    sink.apply(
        changes(table("grows", {"b": TEXT, "id": INT}, ["id"]), [(1, "+", ("x", 1)), (2, "+", ("y", 2))])
    )
    assert query("SELECT id, a, b FROM shop.grows ORDER BY id") == [(1, 1, "x"), (2, None, "y")]
    # The old schema's records, read again, still fit.
    sink.apply(changes(table("grows", {"id": INT, "a": INT}, ["id"]), [(3, "+", (2, 7))]))
    assert query("SELECT id, a, b FROM shop.grows ORDER BY id") == [(1, 1, "x"), (2, 7, "y")]


@pytest.mark.stack
def test_a_table_dropped_by_hand_is_not_made_anew_in_silence(
    make_target: MakeTarget, sink: Sink, query: Callable[..., Any]
) -> None:
    schema = table("dropped", {"id": INT}, ["id"])
    sink.apply(changes(schema, [(0, "+", (1,))]))
    query("DROP TABLE shop.dropped")
    with pytest.raises(FatalError, match=r"gone.*shop\.dropped.*replica_table"):
        sink.apply(changes(schema, [(1, "+", (2,))]))
    restarted = Sink(make_target(sink.target.name), P0)
    with pytest.raises(FatalError, match=r"gone.*shop\.dropped.*replica_table"):
        restarted.apply(changes(schema, [(1, "+", (2,))]))
    query("DELETE FROM cdc.replica_table WHERE table_name = 'dropped'")
    restarted.apply(changes(schema, [(1, "+", (2,))]))
    assert query("SELECT id FROM shop.dropped") == [(2,)]


@pytest.mark.stack
@pytest.mark.parametrize("database", ["cdc", "pg_shop", "information_schema"])
def test_reserved_schemas_want_a_route(sink: Sink, database: str) -> None:
    with pytest.raises(FatalError, match="route"):
        sink.apply(changes(table("t", {"id": INT}, ["id"], database=database), [(0, "+", (1,))]))


@pytest.mark.stack
def test_another_key_is_refused(sink: Sink) -> None:
    sink.apply(changes(table("rekeyed", {"a": INT, "b": INT}, ["a", "b"]), [(0, "+", (1, 1))]))
    for key in (["a"], ["b", "a"], []):
        with pytest.raises(FatalError, match="primary key"):
            sink.apply(changes(table("rekeyed", {"a": INT, "b": INT}, key), [(0, "+", (1, 1))]))


@pytest.mark.stack
def test_a_view_in_the_tables_place(sink: Sink, query: Callable[..., Any]) -> None:
    query("CREATE SCHEMA IF NOT EXISTS shop")
    query("CREATE VIEW shop.view AS SELECT 1 AS id")
    with pytest.raises(FatalError, match="not a table"):
        sink.apply(changes(table("view", {"id": INT}, ["id"]), [(0, "+", (1,))]))
