"""Every kind of value arrives exactly, through staging and as literals; the server is the oracle."""

from __future__ import annotations

import datetime as dt
import math
import struct
from typing import TYPE_CHECKING, Any

import pytest

from sinks.mysql_types import MYSQL_TYPES
from sinks.table_schema import MysqlType
from sinks.targets.postgres import PostgresOptions
from tests.postgres.changes import INT, changes, table
from tests.postgres.conftest import P0, MakeTarget, Sink

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.stack

NASTY = [
    "",
    " ",
    "\\",
    "\\.",
    "a\n\\.\nb",
    '"',
    '""',
    "'",
    "a,b",
    "a\r\nb",
    "\r",
    "\t",
    "\\N",
    "NULL",
    "null",
]
NASTY += [
    "ÄÖ漢字🐘",
    "\u2028",
    "a\x01b",
    "x" * 60_000,
    "%s",
    "$$",
    "{}",
    "; DROP TABLE x; --",
    "é" * 10,
    "1",
    "t",
]


def f32(value: float) -> float:
    result: float = struct.unpack("f", struct.pack("f", value))[0]
    return result


VALUES: list[tuple[MysqlType, list[Any], str]] = [
    (MysqlType("TINYINT"), [-128, 127, 0], "{0}::text"),
    (MysqlType("TINYINT UNSIGNED"), [255], "{0}::text"),
    (MysqlType("SMALLINT UNSIGNED"), [65535], "{0}::text"),
    (MysqlType("MEDIUMINT UNSIGNED"), [16777215], "{0}::text"),
    (MysqlType("INT UNSIGNED"), [4294967295], "{0}::text"),
    (MysqlType("BIGINT"), [-(2**63), 2**63 - 1], "{0}::text"),
    (MysqlType("BIGINT UNSIGNED"), [2**64 - 1, 0], "{0}::text"),
    (MysqlType("DECIMAL", 65, 30), ["9" * 35 + "." + "9" * 30, "-0." + "0" * 29 + "1"], "{0}::text"),
    (MysqlType("DECIMAL"), ["1234567890"], "{0}::text"),
    (MysqlType("FLOAT"), [f32(0.1), f32(3.4028235e38), f32(1e-45), f32(16777217)], "{0}"),
    (MysqlType("DOUBLE"), [0.1, 1.7976931348623157e308, 5e-324, -0.0, 1 / 3], "{0}"),
    (MysqlType("YEAR"), [1901, 2155], "{0}::text"),
    (MysqlType("DATE"), [dt.date(1000, 1, 1), dt.date(9999, 12, 31), dt.date(1, 1, 1)], "{0}"),
    (
        MysqlType("DATETIME", 6),
        [dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(1000, 1, 1)],  # noqa: DTZ001
        "{0}",
    ),
    (MysqlType("DATETIME"), [dt.datetime(2024, 2, 29, 1, 2, 3)], "{0}"),  # noqa: DTZ001
    (MysqlType("TIMESTAMP", 6), ["2038-01-19T03:14:07.499999Z"], "{0}"),
    (MysqlType("TIME", 6), [-3020399000001, 3020399000000, 0, -1, 86_400_000_000], "{0}"),
    (MysqlType("TEXT"), NASTY, "{0}"),
    (MysqlType("VARCHAR", 65000), NASTY, "{0}"),
    (MysqlType("ENUM", values=("a,b", "")), ["a,b", ""], "{0}"),
    (MysqlType("BLOB"), [b"", b"\0", bytes(range(256)), b"\\x41"], "{0}"),
    (MysqlType("BINARY", 3), [b"a\0\0"], "{0}"),
    (MysqlType("JSON"), ['{"a": "ä\\n\\"", "b": [1.10, null]}', "null", '"x"', "1e2"], "{0}::text"),
    (MysqlType("BIT"), [True, False], "{0}"),
    (MysqlType("BIT", 10), [b"\x01\x02", b"\xff\x03", b"\0\0"], "{0}::text"),
    (MysqlType("BIT", 64), [bytes(range(8))], "{0}::text"),
    (MysqlType("POINT"), [{"wkb": b"\x01\x02\0", "srid": 4326}], "{0}"),
    (MysqlType("VECTOR", 3), [[f32(0.1), f32(-1e30), f32(1.5)]], "{0}"),
]


def expected(type_: MysqlType, value: Any) -> object:  # noqa: ANN401
    match type_.name:
        case "DECIMAL" | "YEAR" | "JSON":
            return {"1e2": "100"}.get(str(value), str(value))
        case "TIME":
            return dt.timedelta(microseconds=value)
        case "TIMESTAMP":
            return dt.datetime.fromisoformat(value)
        case "BIT" if type_.length:
            return f"{int.from_bytes(value, 'little'):0{type_.length}b}"
        case "POINT":
            return value["wkb"]
        case name if "INT" in name:
            return str(value)
        case _:
            return value


def same(value: object, arrived: Any) -> bool:  # noqa: ANN401
    if isinstance(arrived, memoryview):
        arrived = bytes(arrived)
    if isinstance(value, float):
        return bool(value == f32(arrived) or value == arrived) and math.copysign(1, value) == math.copysign(
            1, arrived
        )
    if isinstance(value, list):
        return [f32(number) for number in arrived] == value
    return bool(value == arrived)


@pytest.mark.parametrize("direct", [True, False], ids=["literals", "staged"])
@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "keyless"])
def test_every_kind_arrives_exactly(
    make_target: MakeTarget, query: Callable[..., Any], *, direct: bool, keyed: bool
) -> None:
    sink = Sink(make_target(options=PostgresOptions(direct_cells=10**6 if direct else 0)), P0)
    for i, (type_, values, how) in enumerate(VALUES):
        name = f"kind_{i}_{direct}_{keyed}".lower()
        schema = table(name, {"id": INT, "v": type_}, ["id"] if keyed else [])
        rows = [(n, "+", (n, value)) for n, value in enumerate([*values, None])]
        sink.apply(changes(schema, rows))
        arrived = query(f'SELECT {how.format("v")} FROM shop."{name}" ORDER BY id')
        assert arrived[-1] == (None,)
        for value, (got,) in zip(values, arrived, strict=False):
            assert same(expected(type_, value), got), (type_, value, got)
        # Deleted again: a whole row, or a key, finds itself whatever its type.
        sink.apply(changes(schema, [(n + 100, "-", row) for n, _, row in rows]))
        assert query(f'SELECT count(*) FROM shop."{name}"') == [(0,)]
    assert sink.parked == []


def test_every_kind_is_tried() -> None:
    tried = {type_.name for type_, _, _ in VALUES}
    assert {MYSQL_TYPES[name].kind for name in tried} == {rule.kind for rule in MYSQL_TYPES.values()}


def test_a_lone_column_keeps_null_and_empty_apart(make_target: MakeTarget, query: Callable[..., Any]) -> None:
    sink = Sink(make_target(options=PostgresOptions(direct_cells=0)), P0)
    schema = table("lone", {"v": MysqlType("TEXT")})
    sink.apply(changes(schema, [(0, "+", (None,)), (1, "+", ("",)), (2, "+", ("\\.",))]))
    assert query("SELECT v FROM shop.lone ORDER BY v NULLS FIRST") == [(None,), ("",), ("\\.",)]


@pytest.mark.parametrize("name", ["CHAR", "VARCHAR", "TEXT", "VARBINARY", "DECIMAL", "DATE", "TIME", "BIT"])
@pytest.mark.parametrize("direct", [True, False])
def test_keys_of_other_types(
    make_target: MakeTarget, query: Callable[..., Any], name: str, *, direct: bool
) -> None:
    sink = Sink(make_target(options=PostgresOptions(direct_cells=10**6 if direct else 0)), P0)
    type_ = MysqlType(name, {"DECIMAL": 10, "BIT": 10}.get(name, 20), 2 if name == "DECIMAL" else None)
    given: dict[str, list[Any]] = {
        "VARBINARY": [b"a", b"b\0"],
        "DECIMAL": ["1.10", "-2.00"],
        "DATE": [dt.date(2024, 1, 1), dt.date(2024, 1, 2)],
        "TIME": [1, -1],
        "BIT": [b"\x01\x00", b"\x00\x02"],
    }
    values = given.get(name, ["a'b\\", 'B"\n'])
    if name == "TIME":
        type_ = MysqlType("TIME", 6)
    schema = table(f"key_{name}_{direct}".lower(), {"k": type_, "v": INT}, ["k"])
    relation = f"shop.key_{name}_{direct}".lower()
    sink.apply(changes(schema, [(0, "+", (values[0], 1)), (1, "+", (values[1], 2))]))
    sink.apply(changes(schema, [(2, "+", (values[0], 3)), (3, "-", (values[1], 2))]))
    assert query(f"SELECT v FROM {relation}") == [(3,)]
