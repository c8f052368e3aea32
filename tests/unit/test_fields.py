from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from sinks.errors import FatalError, RejectedError
from sinks.mysql_types import MYSQL_TYPES, canonical_name
from sinks.table_schema import MysqlType
from sinks.wire.fields import WireField, envelope_schema, exactly, row_field, split_values, unescape
from tests.debezium import DECIMAL, adjusted

if TYPE_CHECKING:
    from sinks.wire.base import RowField

DBZ = "io.debezium.time."

UNIX_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (MySQL's DATETIME has no time zone)


def described(declared: str, semantic: str | None = None, *, name: str = "c", **parameters: str) -> RowField:
    keys = {"type": declared, "length": None, "scale": None} | {
        of: parameters.pop(of) for of in ("length", "scale") if of in parameters
    }
    parameters |= {f"__debezium.source.column.{of}": text for of, text in keys.items() if text is not None}
    return row_field(WireField(name, semantic, parameters, nullable=True))


def canonical(field: RowField, values: list[Any], dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
    frame = pl.DataFrame({field.wire_name: pl.Series([*values, None], dtype=dtype)})
    read = frame.select(field.value.alias("read"))["read"]
    assert read[-1] is None
    return read.head(-1)


@pytest.mark.parametrize(
    ("declared", "dtype", "values"),
    [
        ("TINYINT", pl.Int32, [-128, 127]),
        ("TINYINT UNSIGNED", pl.Int32, [0, 255]),
        ("SMALLINT UNSIGNED", pl.Int32, [0, 65535]),
        ("MEDIUMINT", pl.Int32, [-8388608, 8388607]),
        ("INT", pl.Int32, [-(2**31), 2**31 - 1]),
        ("INT UNSIGNED", pl.Int64, [0, 2**32 - 1]),
        ("BIGINT", pl.Int64, [-(2**63), 2**63 - 1]),
    ],
)
def test_integers_are_int64(declared: str, dtype: type[pl.DataType], values: list[int]) -> None:
    read = canonical(described(declared), values, dtype)
    assert read.dtype == pl.Int64
    assert read.to_list() == values


def test_a_year_is_an_integer() -> None:
    assert canonical(described("YEAR", DBZ + "Year"), [1901, 2155], pl.Int32).to_list() == [1901, 2155]


@pytest.mark.parametrize("number", [0, 1, 127, 128, 255, 256, 2**63 - 1, 2**63, 2**64 - 1])
def test_unsigned_bigints_are_read_from_their_shortest_bytes(number: int) -> None:
    wire = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    read = canonical(described("BIGINT UNSIGNED", DECIMAL, scale="0"), [wire], pl.Binary)
    assert read.dtype == pl.UInt64
    assert read.to_list() == [number]


def test_a_serial_of_the_stream_comes_as_a_number() -> None:
    assert canonical(described("SERIAL"), [2**63 - 1], pl.Int64).to_list() == [2**63 - 1]


def test_decimals_keep_their_digits() -> None:
    digits = ["-" + "9" * 35 + "." + "9" * 30, "0.00", "-0.10"]
    read = canonical(described("DECIMAL", length="65", scale="30"), digits, pl.String)
    assert read.to_list() == digits


def test_floats_and_doubles_keep_their_bits() -> None:
    single, double = (
        [3.4028234663852886e38, 1.401298464324817e-45, -0.0],
        [1.7976931348623157e308, 5e-324, -0.0],
    )
    read = canonical(described("FLOAT"), single, pl.Float32)
    assert read.dtype == pl.Float32
    assert list(map(repr, read)) == list(map(repr, single))
    assert list(map(repr, canonical(described("DOUBLE"), double, pl.Float64))) == list(map(repr, double))


def test_a_float_of_many_bits_is_a_double() -> None:
    field = described("FLOAT UNSIGNED", length="53")
    assert field.type.name == "DOUBLE UNSIGNED"
    assert canonical(field, [0.1], pl.Float64).to_list() == [0.1]
    assert described("FLOAT", length="30", scale="4").type.name == "FLOAT"


def test_dates() -> None:
    days = [date(1000, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(9999, 12, 31)]
    wire = [(day - UNIX_EPOCH.date()).days for day in days]
    assert canonical(described("DATE", DBZ + "Date"), wire, pl.Int32).to_list() == days


@pytest.mark.parametrize(("semantic", "unit"), [("Timestamp", 1000), ("MicroTimestamp", 1)])
def test_datetimes_in_milliseconds_and_microseconds(semantic: str, unit: int) -> None:
    times = [
        datetime(1000, 1, 1),  # noqa: DTZ001
        datetime(1969, 12, 31, 23, 59, 59, 999000),  # noqa: DTZ001
        datetime(9999, 12, 31, 23, 59, 59, 999000 if unit > 1 else 999999),  # noqa: DTZ001
    ]
    spans = [time - UNIX_EPOCH for time in times]
    wire = [(s.days * 86_400_000_000 + s.seconds * 1_000_000 + s.microseconds) // unit for s in spans]
    read = canonical(described("DATETIME", DBZ + semantic), wire, pl.Int64)
    assert read.dtype == pl.Datetime("us")
    assert read.to_list() == times


def test_times_are_microseconds_and_may_be_negative() -> None:
    wire = [-3_020_399_000_000, -1, 0, 3_020_399_000_000]
    assert canonical(described("TIME", DBZ + "MicroTime"), wire, pl.Int64).to_list() == wire


def test_timestamps_stay_text() -> None:
    wire = ["1970-01-01T00:00:01.000001Z", "2038-01-19T03:14:07Z"]
    assert canonical(described("TIMESTAMP", DBZ + "ZonedTimestamp"), wire, pl.String).to_list() == wire


@pytest.mark.parametrize("declared", ["CHAR", "VARCHAR", "LONGTEXT", "JSON"])
def test_texts_stay_as_they_are(declared: str) -> None:
    wire = ["", " ", "\x00", "NULL", "é😀", "\\N", 'a"b']
    assert canonical(described(declared), wire, pl.String).to_list() == wire


@pytest.mark.parametrize("declared", ["BINARY", "VARBINARY", "LONGBLOB"])
def test_bytes_stay_as_they_are(declared: str) -> None:
    wire = [b"", b"\x00", b"\xff\xfe"]
    assert canonical(described(declared), wire, pl.Binary).to_list() == wire


def test_bits_and_booleans() -> None:
    assert canonical(described("BIT", length="1"), [True, False], pl.Boolean).to_list() == [True, False]
    bits = canonical(described("BIT", "io.debezium.data.Bits", length="10"), [b"\x01\x02"], pl.Binary)
    assert bits.to_list() == [b"\x01\x02"]


def test_geometries_are_wkb_and_srid() -> None:
    point = {"x": 1.0, "y": 2.0, "wkb": b"\x01", "srid": None}
    wire = pl.Struct({"x": pl.Float64, "y": pl.Float64, "wkb": pl.Binary, "srid": pl.Int32})
    read = canonical(described("POINT", "io.debezium.data.geometry.Point"), [point], wire)
    assert read.dtype == pl.Struct({"wkb": pl.Binary, "srid": pl.Int64})
    assert read.to_list() == [{"wkb": b"\x01", "srid": None}]


def test_vectors_are_lists_of_floats() -> None:
    read = canonical(described("VECTOR", length="3"), [[1.0, -2.5], []], pl.List(pl.Float32))
    assert read.to_list() == [[1.0, -2.5], []]


def test_an_enum_reads_the_same_from_a_snapshot_and_from_the_stream() -> None:
    field = described("ENUM", allowed=r"a,b\,c,d\\,it's,")
    assert field.type.values == ("a", "b,c", "d\\", "it's", "")
    wire = ["a", "b,c", r"b\,c", "d\\", r"d\\", "it's", ""]
    assert canonical(field, wire, pl.String).to_list() == ["a", "b,c", "b,c", "d\\", "d\\", "it's", ""]


def test_a_set_reads_the_same_from_a_snapshot_and_from_the_stream() -> None:
    field = described("SET", allowed=r"x,y\\y,z")
    wire = ["", "x", r"x,y\\y,z", r"y\y", "x,z"]
    assert canonical(field, wire, pl.String).to_list() == ["", "x", r"x,y\y,z", r"y\y", "x,z"]


def test_values_are_split_at_commas_that_are_not_escaped() -> None:
    assert split_values("a") == {"a": "a"}
    assert list(split_values(r"a\\,b\,c\\\,d,\n")) == [r"a\\", r"b\,c\\\,d", r"\n"]
    assert list(split_values(r"a\\,b\,c\\\,d,\n").values()) == ["a\\", "b,c\\,d", "\n"]


@pytest.mark.parametrize("name", ["plain", "odd-näme", "a_b", "a-b", "1st", "名前", "a b", "_u002d"])
def test_names_are_unescaped(name: str) -> None:
    assert unescape(adjusted(name)) == name


@pytest.mark.parametrize("name", ["*", "^a$", "^.*$", "a*", "^(a b)$"])
def test_names_that_are_patterns_to_polars_are_names_here(name: str) -> None:
    frame = pl.DataFrame({"a": [1], "ab": [2], name: [3]})
    assert frame.select(pl.col(exactly(name))).to_dict(as_series=False) == {name: [3]}
    assert canonical(described("INT", name=name), [7], pl.Int32).to_list() == [7]


@pytest.mark.parametrize(
    ("declared", "known"),
    [
        ("int unsigned zerofill", "INT UNSIGNED"),
        ("INT4", "INT"),
        ("INT8 UNSIGNED", "BIGINT UNSIGNED"),
        ("BIGINT ZEROFILL", "BIGINT UNSIGNED"),
        ("MIDDLEINT SIGNED", "MEDIUMINT"),
        ("DOUBLE PRECISION UNSIGNED", "DOUBLE UNSIGNED"),
        ("DEC", "DECIMAL"),
        ("FIXED UNSIGNED", "DECIMAL UNSIGNED"),
        ("NATIONAL CHARACTER VARYING", "VARCHAR"),
        ("VARCHAR BINARY", "VARCHAR"),
        ("BINARY", "BINARY"),
        ("LONG VARBINARY", "MEDIUMBLOB"),
        ("SERIAL", "BIGINT UNSIGNED"),
        ("BOOL", "TINYINT"),
    ],
)
def test_types_are_known_by_the_names_that_statements_give_them(declared: str, known: str) -> None:
    assert canonical_name(declared) == known
    assert known in MYSQL_TYPES


def test_every_known_type_is_its_own_canonical_name() -> None:
    assert {canonical_name(name) for name in MYSQL_TYPES} == set(MYSQL_TYPES)


def test_length_and_scale_come_along() -> None:
    assert described("DECIMAL", length="10", scale="2").type == MysqlType("DECIMAL", 10, 2)


@pytest.mark.parametrize(
    ("declared", "semantic"),
    [
        ("DATETIME", DBZ + "NanoTimestamp"),
        ("DATETIME", None),
        ("TIME", "org.apache.kafka.connect.data.Time"),
        ("DATE", "org.apache.kafka.connect.data.Date"),
        ("DECIMAL", DECIMAL),
        ("BIGINT UNSIGNED", DBZ + "Year"),
    ],
)
def test_a_representation_of_another_setting_stops_the_worker(declared: str, semantic: str | None) -> None:
    with pytest.raises(FatalError, match=r"precision\.mode"):
        described(declared, semantic)


def test_a_column_without_its_type_stops_the_worker() -> None:
    with pytest.raises(FatalError, match=r"column\.propagate\.source\.type"):
        row_field(WireField("c", None, {}, nullable=True))


def test_an_unknown_type_stops_the_worker() -> None:
    with pytest.raises(FatalError, match="'HOLOGRAM' is not known"):
        described("HOLOGRAM")


def test_a_key_is_named_as_its_columns_are() -> None:
    parameters = {"__debezium.source.column.type": "INT", "__debezium.source.column.name": "a_b"}
    row = [WireField("a_u005fb", None, parameters, nullable=False)]
    assert envelope_schema(row, ["a_u005fb"]).key == ("a_b",)
    with pytest.raises(RejectedError, match="'gone' is not a column"):
        envelope_schema(row, ["gone"])
