"""Every kind of value is read back as it came: boundaries, emptiness and NULL."""

from __future__ import annotations

import datetime as dt
import secrets
import struct
from typing import TYPE_CHECKING, Any

import pytest

from sinks.mysql_types import MYSQL_TYPES, Kind, rule_of
from sinks.table_schema import MysqlType
from tests.builders import INT, changes, put, table
from tests.contract.harness import from_frame
from tests.contract.worker import Worker

if TYPE_CHECKING:
    from tests.contract.harness import Harness

HOUR = 3_600_000_000
POINT = bytes.fromhex("0101000000000000000000f03f0000000000000040")
WORDS = [
    "",
    " ",
    "NULL",
    "\\N",
    'it\'s "quoted",\\ yes',
    "line\r\nend\ttab\u2028",
    "ä€😀",
    "\x01\x1f\x7f",
    "{",
    "0",
]
WHOLE = [0, 1, -1]


def _unsigned(bits: int) -> list[int]:
    return [0, 1, 2**bits - 1]


def _signed(bits: int) -> list[int]:
    return [*WHOLE, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))]


_FLOATS = [0.0, -0.0, 0.1, -1.5, 3.4028234663852886e38, 1.401298464324817e-45, 16777217.0]
_DOUBLES = [0.0, -0.0, 0.1, 1.7976931348623157e308, 5e-324, 1e-7, 123456789012345.67, 9007199254740993.0]
_DECIMALS = [
    "0",
    "-0.1",
    "9" * 35 + "." + "9" * 30,
    "-" + "9" * 35 + "." + "9" * 30,
    "0.000000000000000000000000000001",
]
_BINARIES = [b"", b"\x00", b"\xff\xfe\x00\\x'\n", bytes(range(256))]
_JSONS = [
    *("null", "true", "0", '""', "[]", "{}", '"text"', "-1.5e-3", "18446744073709551615"),
    *('{"a": {"b.c": [1, null, {"_id": "x"}]}, "": 1}', "[ 1,\n 2 ]", '"line\\nend \\u2028 \\"q\\" ä😀"'),
    "[" * 60 + "]" * 60,
]

CASES: dict[str, tuple[MysqlType, list[Any]]] = {
    "tinyint": (MysqlType("TINYINT"), _signed(8)),
    "tinyint unsigned": (MysqlType("TINYINT UNSIGNED"), _unsigned(8)),
    "smallint": (MysqlType("SMALLINT"), _signed(16)),
    "smallint unsigned": (MysqlType("SMALLINT UNSIGNED"), _unsigned(16)),
    "mediumint": (MysqlType("MEDIUMINT"), _signed(24)),
    "mediumint unsigned": (MysqlType("MEDIUMINT UNSIGNED"), _unsigned(24)),
    "int": (MysqlType("INT"), _signed(32)),
    "int unsigned": (MysqlType("INT UNSIGNED"), _unsigned(32)),
    "bigint": (MysqlType("BIGINT"), _signed(64)),
    "bigint unsigned": (MysqlType("BIGINT UNSIGNED"), _unsigned(64)),
    "decimal": (MysqlType("DECIMAL", 65, 30), _DECIMALS),
    "decimal unsigned": (MysqlType("DECIMAL UNSIGNED", 10), ["0", "9999999999"]),
    "float": (MysqlType("FLOAT"), _FLOATS),
    "double": (MysqlType("DOUBLE"), _DOUBLES),
    "bit 1": (MysqlType("BIT", 1), [True, False]),
    "bit 10": (MysqlType("BIT", 10), [b"\x00\x00", b"\x01\x02", b"\xff\x03"]),
    "bit 64": (MysqlType("BIT", 64), [b"\x00" * 8, b"\x01" + b"\x00" * 6 + b"\x80", b"\xff" * 8]),
    "year": (MysqlType("YEAR"), [0, 1901, 2155]),
    "date": (
        MysqlType("DATE"),
        [dt.date(1, 1, 1), dt.date(1000, 1, 1), dt.date(1969, 12, 31), dt.date(9999, 12, 31)],
    ),
    "datetime": (
        MysqlType("DATETIME", 6),
        [
            dt.datetime.fromisoformat("1000-01-01"),
            dt.datetime.fromisoformat("1969-12-31T23:59:59.999999"),
            dt.datetime.fromisoformat("9999-12-31T23:59:59.000001"),
        ],
    ),
    "timestamp": (
        MysqlType("TIMESTAMP", 6),
        ["1970-01-01T00:00:01Z", "2038-01-19T03:14:07.499999Z", "2024-02-29T12:00:00.1Z"],
    ),
    "time": (
        MysqlType("TIME", 6),
        [0, 1, -1, 24 * HOUR, 838 * HOUR + 59 * 60_000_000 + 59_000_000, -838 * HOUR - 1, 3_599_999_999],
    ),
    "char": (MysqlType("CHAR", 40), WORDS),
    "varchar": (MysqlType("VARCHAR", 40), WORDS),
    "longtext": (MysqlType("LONGTEXT"), [*WORDS, "long " * 20_000, "x" * 40_000]),
    "enum": (MysqlType("ENUM", values=("a", "b,c")), ["a", "b,c", ""]),
    "set": (MysqlType("SET", values=("a", "b")), ["", "a", "a,b"]),
    "varbinary": (MysqlType("VARBINARY", 300), _BINARIES),
    "longblob": (MysqlType("LONGBLOB"), [*_BINARIES, bytes(100_000)]),
    "json": (MysqlType("JSON"), _JSONS),
    "point": (MysqlType("POINT"), [{"wkb": POINT, "srid": 0}, {"wkb": POINT, "srid": None}]),
    "vector": (MysqlType("VECTOR", 3), [[0.0, -1.5, 3.4028234663852886e38], [0.1], []]),
}


def test_every_kind_is_here() -> None:
    assert {rule_of(type_).kind for type_, _ in CASES.values()} == set(Kind)
    assert {rule.kind for rule in MYSQL_TYPES.values()} | {Kind.BOOLEAN} == set(Kind)


@pytest.mark.parametrize("case", CASES)
def test_values_come_back(harness: Harness, case: str) -> None:
    type_, values = CASES[case]
    schema = table("vals", {"id": INT, "a value": type_}, ["id"], database=f"d_{secrets.token_hex(4)}")
    worker = Worker(harness.target())
    rows = [put(i, i, value) for i, value in enumerate([*values, None])]
    worker.apply(changes(schema, *rows), next_offset=len(rows))
    assert worker.parked == []
    there = {row["id"]: row["a value"] for row in harness.rows(schema)}
    expected = {i: from_frame(schema.columns[1], value) for i, value in enumerate([*values, None])}
    assert _exact(there) == _exact(expected)


def _exact(rows: dict[int, Any]) -> dict[int, Any]:
    """Floats by their bits: -0.0 is not 0.0."""
    return {i: struct.pack("d", v) if isinstance(v, float) else v for i, v in rows.items()}
