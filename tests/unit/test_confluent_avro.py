from __future__ import annotations

import io
import json
import random
from typing import TYPE_CHECKING, Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.errors import FatalError, OutageError, RejectedError
from sinks.wire.avro_schema import plain
from sinks.wire.base import ENVELOPE_COLUMNS
from sinks.wire.confluent_avro import ConfluentAvro
from tests.debezium import AvroRecords, Col, Table
from tests.records import envelopes, tables
from tests.tables import EVERYTHING, FULL, KEYLESS, NULLS, PLAIN, SIMPLE

if TYPE_CHECKING:
    from sinks.wire.base import Decoded
    from tests.debezium import Envelope

NO_SCHEMAS: dict[int, str] = {}


def decode(records: AvroRecords, values: list[bytes], key: bytes | None = None) -> Decoded:
    wire = ConfluentAvro(records.texts.__getitem__)
    return wire.decode(wire.schema_of(key, next(v for v in values if v[:5] == b"\0\0\0\0\2")), values)


def oracle(records: AvroRecords, values: list[bytes]) -> list[Any]:
    parsed = fastavro.parse_schema(plain(records.value_schema))
    return [fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None) for value in values]


def assert_same(decoded: Decoded, expected: list[Any]) -> None:
    assert tuple(decoded.frame.columns) == ENVELOPE_COLUMNS
    rows = decoded.frame.drop("ordinal").to_dicts()
    for row, record in zip(rows, expected, strict=True):
        source, block = record["source"], record["transaction"]
        # repr tells -0.0 from 0.0, True from 1
        assert repr(row) == repr(
            {
                "op": record["op"],
                "database": source["db"],
                "table": source["table"],
                "gtid": source["gtid"],
                "snapshot": source["snapshot"],
                "source_ms": source["ts_ms"],
                "order": block and block["total_order"],
                "before": record["before"],
                "after": record["after"],
            }
        )


def changes_of_everything() -> list[Envelope]:
    return [
        EVERYTHING.envelope("c", after=FULL),
        EVERYTHING.envelope("u", before=FULL, after=NULLS, order=2),
        EVERYTHING.envelope("d", before=NULLS, order=3),
        EVERYTHING.envelope("r", after=NULLS, gtid=None, order=None, snapshot="last"),
        EVERYTHING.envelope("t", order=None),
    ]


def test_a_table_of_every_type_at_its_bounds() -> None:
    records = AvroRecords(EVERYTHING)
    values = [records.value(change) for change in changes_of_everything()]
    decoded = decode(records, values)
    assert decoded.refused == {}
    assert_same(decoded, oracle(records, values))


@settings(max_examples=25)
@given(st.data())
def test_whatever_the_table_values_are_the_oracles(data: st.DataObject) -> None:
    table = data.draw(tables(EVERYTHING.columns))
    records = AvroRecords(table)
    values = [records.value(change) for change in data.draw(envelopes(table, most=3))]
    decoded = decode(records, values)
    assert decoded.refused == {}
    assert_same(decoded, oracle(records, values))


def bad(good: bytes) -> dict[str, bytes]:
    noise = random.Random(7)
    return {
        "nothing": good[:5],
        "truncated": good[:-1],
        "cut": good[: len(good) // 2],
        "a byte too many": good + b"\0",
        "eight bytes too many": good + bytes(8),
        "a record too many": good + good[5:],
        "random": good[:5] + noise.randbytes(len(good)),
        "ones": good[:5] + b"\xff" * len(good),
        "text that is not UTF-8": good.replace("é".encode(), b"\xc3\xff"),
        "huge length": good.replace("\4é".encode(), b"\xfe\xff\xff\xff\xff\xff\x7f"),
        "negative length": good[:7] + b"\x01" * 20,
        "another schema": b"\0\0\0\0\3" + good[5:-1],
    }


@pytest.mark.parametrize("kind", bad(b"12345"))
def test_of_a_thousand_exactly_the_bad_one_is_refused(kind: str) -> None:
    records = AvroRecords(SIMPLE)
    changes = [SIMPLE.envelope("c", after={**PLAIN, "id": n}, gtid=f"u:{n + 1}") for n in range(1000)]
    values = [records.value(change) for change in changes]
    values[500] = bad(values[500])[kind]
    decoded = decode(records, values)
    assert [*decoded.refused] == [500]
    assert "é" not in decoded.refused[500]
    assert decoded.frame["ordinal"].to_list() == [*range(500), *range(501, 1000)]
    assert_same(decoded, oracle(records, values[:500] + values[501:]))


def test_many_bad_ones_among_good_ones() -> None:
    records = AvroRecords(SIMPLE)
    good = records.value(SIMPLE.envelope("c", after=PLAIN))
    values = [good if n % 3 else good[:-2] for n in range(300)]
    decoded = decode(records, values)
    assert [*decoded.refused] == [*range(0, 300, 3)]
    assert decoded.frame["ordinal"].to_list() == [n for n in range(300) if n % 3]
    assert_same(decoded, oracle(records, [good] * 200))


def test_nothing_but_bad_ones() -> None:
    records = AvroRecords(SIMPLE)
    decoded = decode(records, [b"\0\0\0\0\2\0"] * 20)
    assert len(decoded.refused) == 20
    assert decoded.frame.is_empty()
    assert tuple(decoded.frame.columns) == ENVELOPE_COLUMNS


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_mangled_record_never_changes_its_neighbours(flips: list[tuple[int, int]]) -> None:
    records = AvroRecords(EVERYTHING)
    good = records.value(EVERYTHING.envelope("c", after=FULL))
    mangled = bytearray(good)
    for place, byte in flips:
        mangled[5 + place % (len(good) - 5)] = byte
    decoded = decode(records, [good, bytes(mangled), good])
    assert decoded.refused.keys() <= {1}
    kept = decoded.frame.filter(decoded.frame["ordinal"] != 1)
    assert_same(type(decoded)(kept, {}), oracle(records, [good, good]))


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        (None, b"", "value"),
        (None, b"\0\0\0\0", "value"),
        (None, b"\1\0\0\0\2x", "value"),
        (None, b"{}", "value"),
        (b"", b"\0\0\0\0\2x", "key"),
        (b"{}", b"\0\0\0\0\2x", "key"),
    ],
)
def test_what_is_not_in_the_wire_format_is_refused(key: bytes | None, value: bytes, part: str) -> None:
    with pytest.raises(RejectedError, match=f"the {part} is not in Confluent's"):
        ConfluentAvro(NO_SCHEMAS.__getitem__).schema_of(key, value)


def test_tokens_tell_schemas_apart() -> None:
    wire = ConfluentAvro(NO_SCHEMAS.__getitem__)
    one = wire.schema_of(b"\0\0\0\0\1k", b"\0\0\0\0\2v")
    assert one == wire.schema_of(b"\0\0\0\0\1other", b"\0\0\0\0\2other")
    assert one != wire.schema_of(None, b"\0\0\0\0\2v")
    assert one != wire.schema_of(b"\0\0\0\0\2k", b"\0\0\0\0\2v")
    assert one != wire.schema_of(b"\0\0\0\0\1k", b"\0\0\0\1\2v")


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        '"string"',
        "[]",
        "{}",
        '{"type": "record", "name": "Heartbeat", "fields": [{"name": "ts_ms", "type": "long"}]}',
        '{"type": "record", "name": "R", "fields": [{"name": "before", "type": "Unknown"}]}',
        '{"type": "record", "name": "R", "fields": [{"type": "long"}]}',
        '{"type": "record", "name": "R", "fields": [7]}',
    ],
)
def test_a_schema_that_is_no_envelope_is_refused(text: str) -> None:
    wire = ConfluentAvro(lambda _: text)
    with pytest.raises(RejectedError):
        wire.open(wire.schema_of(None, b"\0\0\0\0\2"))


def test_an_envelope_of_another_database_is_refused() -> None:
    text = AvroRecords(SIMPLE).texts[2].replace('"gtid"', '"lsn"')
    wire = ConfluentAvro(lambda _: text)
    with pytest.raises(RejectedError, match="no field 'gtid'"):
        wire.open(wire.schema_of(None, b"\0\0\0\0\2"))


def test_an_outage_of_the_registry_is_not_remembered() -> None:
    texts, down = AvroRecords(SIMPLE).texts, [True]

    def schema_text(schema_id: int) -> str:
        if down:
            down.pop()
            raise OutageError("the registry is away")
        return texts[schema_id]

    wire = ConfluentAvro(schema_text)
    token = wire.schema_of(b"\0\0\0\0\1", b"\0\0\0\0\2")
    with pytest.raises(OutageError):
        wire.open(token)
    assert wire.open(token).key == ("id",)


def test_the_tables_columns_and_key_are_described() -> None:
    records = AvroRecords(EVERYTHING)
    wire = ConfluentAvro(records.texts.__getitem__)
    opened = wire.open(wire.schema_of(records.key(FULL), records.value(changes_of_everything()[0])))
    assert opened.key == ("id",)
    assert [f.name for f in opened.fields] == [column.name for column in EVERYTHING.columns]
    assert {f.name for f in opened.fields if not f.nullable} == {"id", "odd-näme"}


def test_a_table_without_a_key() -> None:
    records = AvroRecords(KEYLESS)
    wire = ConfluentAvro(records.texts.__getitem__)
    assert wire.open(wire.schema_of(None, b"\0\0\0\0\2")).key == ()


def test_a_later_column_may_refer_to_the_type_of_an_earlier_one() -> None:
    point = next(column for column in EVERYTHING.columns if column.name == "t_geom")
    table = Table("places", (EVERYTHING.columns[0], point))
    schema = AvroRecords(table).value_schema
    fields: Any = schema["fields"]
    row = fields[0]["type"][1]
    row["fields"].append({"name": "two_u005fnd", "type": ["null", "io.debezium.data.geometry.Geometry"]})
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
    shape = {"wkb": b"\1", "srid": 1}
    after = {"id": 1, "t_u005fgeom": None, "two_u005fnd": shape}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, parsed, {**table.envelope("c", after={"id": 1}), "after": after})
    wire = ConfluentAvro(lambda _: json.dumps(schema))
    value = b"\0\0\0\0\2" + out.getvalue()
    token = wire.schema_of(None, value)
    assert [(f.name, f.type.name) for f in wire.open(token).fields][1:] == [
        ("t_geom", "GEOMETRY"),
        ("two_nd", "GEOMETRY"),
    ]
    assert wire.decode(token, [value]).frame["after"].to_list() == [after]


def test_a_connector_that_keeps_types_to_itself_stops_the_worker() -> None:
    bare = Table("bare", (Col("id", "", "int32", nullable=False, inner=True),), key=())
    wire = ConfluentAvro(AvroRecords(bare).texts.__getitem__)
    with pytest.raises(FatalError, match="without its MySQL type"):
        wire.open(wire.schema_of(None, b"\0\0\0\0\2"))
