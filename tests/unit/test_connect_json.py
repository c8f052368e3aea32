from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.errors import RejectedError
from sinks.wire.base import ENVELOPE_COLUMNS
from sinks.wire.connect_json import ConnectJson
from sinks.wire.json_block import JsonBlockReader
from tests.debezium import Col, JsonRecords, Table, json_value
from tests.records import envelopes, tables
from tests.tables import EVERYTHING, FULL, NULLS, PLAIN, SIMPLE

if TYPE_CHECKING:
    from sinks.wire.base import Decoded


def decode(values: list[bytes]) -> Decoded:
    wire = ConnectJson()
    return wire.decode(wire.schema_of(None, values[0]), values)


def field(kind: str, *, optional: bool = True) -> JsonBlockReader:
    schema: dict[str, Any] = {"field": "a", "type": kind, "optional": optional}
    if kind == "array":
        schema["items"] = {"type": "float", "optional": False}
    return JsonBlockReader({"type": "struct", "fields": [{**schema, "type": kind}]})


def both(reader: JsonBlockReader, payload: str) -> tuple[Any, Any]:
    """Return what the columnar and the exact reader make of a payload; None and a reason if they refuse."""
    frame, row = reader.read([payload.encode()]), reader.read_one(payload.encode())
    return (None if frame is None else frame.to_dicts()[0]), row


def test_a_table_of_every_type_at_its_bounds() -> None:
    records = JsonRecords(EVERYTHING)
    changes = [
        EVERYTHING.envelope("c", after=FULL),
        EVERYTHING.envelope("u", before=FULL, after=NULLS, order=2),
        EVERYTHING.envelope("d", before=NULLS, order=3),
    ]
    decoded = decode([records.value(change) for change in changes])
    assert decoded.refused == {}
    assert tuple(decoded.frame.columns) == ENVELOPE_COLUMNS
    for image in ("before", "after"):
        assert repr(decoded.frame[image].to_list()) == repr([change[image] for change in changes])


def test_the_columnar_reader_takes_what_the_converter_writes() -> None:
    records = JsonRecords(EVERYTHING)
    payloads = [
        json.dumps(
            json_value(EVERYTHING.envelope("u", before=row, after=FULL), records.value_schema),
            ensure_ascii=False,
        )
        for row in (FULL, NULLS)
    ]
    assert JsonBlockReader(records.value_schema).read([payload.encode() for payload in payloads]) is not None


@settings(max_examples=25)
@given(st.data())
def test_the_columnar_and_the_exact_reader_agree(data: st.DataObject) -> None:
    table = data.draw(tables(EVERYTHING.columns))
    schema = JsonRecords(table).value_schema
    reader = JsonBlockReader(schema)
    for change in data.draw(envelopes(table, most=3)):
        payload = json.dumps(json_value(change, schema), ensure_ascii=False).encode()
        frame, row = reader.read([payload]), reader.read_one(payload)
        assert frame is not None
        assert isinstance(row, dict)
        assert repr(frame["after"].to_list()) == repr([change["after"]])
        assert frame.equals(frame.clear().vstack(type(frame)([row], schema=reader.schema)))


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_are_exact(number: int) -> None:
    assert both(field("int64"), f'{{"a":{number}}}') == ({"a": number}, {"a": number})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_are_exact(number: float) -> None:
    for text in (repr(number), repr(number).upper(), f"{number:.17e}"):
        frame, row = both(field("double"), f'{{"a":{text}}}')
        assert struct.pack("d", frame["a"]) == struct.pack("d", row["a"]) == struct.pack("d", number)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_singles_are_exact(number: float) -> None:
    frame, _ = both(field("float"), f'{{"a":{json_value(number, {"type": "float"})!r}}}')
    assert struct.pack("f", frame["a"]) == struct.pack("f", number)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_texts_are_exact(text: str, escaped: bool) -> None:
    frame, row = both(field("string"), json.dumps({"a": text}, ensure_ascii=escaped))
    assert row == {"a": text}
    assert frame in (None, {"a": text})


@given(st.none() | st.binary())
def test_bytes_are_exact(raw: bytes | None) -> None:
    payload = json.dumps({"a": json_value(raw, {"type": "bytes"})})
    assert both(field("bytes"), payload) == ({"a": raw}, {"a": raw})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("string", "5"),
        ("string", "true"),
        ("string", "1.5"),
        ("string", '{"x":1}'),
        ("string", "[1]"),
        ("string", r'"\ud83d"'),
        ("string", r'"\ude00x"'),
        ("int64", '"1"'),
        ("int64", "1.5"),
        ("int64", "1.0"),
        ("int64", "true"),
        ("int64", "[1]"),
        ("int64", "9223372036854775808"),
        ("int64", "-9223372036854775809"),
        ("int64", "99999999999999999999999999"),
        ("int32", "2147483648"),
        ("int16", "-32769"),
        ("int8", "128"),
        ("double", '"1.5"'),
        ("double", "true"),
        ("double", "NaN"),
        ("double", '"NaN"'),
        ("double", "1e400"),
        ("float", "1e39"),
        ("float", "Infinity"),
        ("boolean", "1"),
        ("boolean", '"true"'),
        ("bytes", '"!!"'),
        ("bytes", '"AAA"'),
        ("bytes", "5"),
        ("array", "5"),
        ("array", '["1"]'),
        ("array", "[null]"),
        ("array", "[1e39]"),
    ],
)
def test_a_value_of_another_type_is_refused_never_changed(kind: str, text: str) -> None:
    frame, reason = both(field(kind), f'{{"a":{text}}}')
    assert frame is None
    assert isinstance(reason, str)


@pytest.mark.parametrize("payload", ['{"a":null}', "{}"])
def test_null_is_refused_where_a_value_is_required(payload: str) -> None:
    assert both(field("int64", optional=False), payload) == (
        None,
        "null where a value of type int64 is required",
    )


def test_a_missing_name_is_null_where_null_is_allowed() -> None:
    assert both(field("int64"), "{}") == (None, {"a": None})


def test_a_name_that_the_schema_does_not_have_is_passed_over() -> None:
    assert both(field("int64"), '{"a":1,"b":"x"}') == (None, {"a": 1})


def test_a_name_that_stands_twice_is_refused() -> None:
    assert both(field("int64"), '{"a":1,"a":2}') == (None, "a name stands twice in one object")


@pytest.mark.parametrize(
    "text", [r'"\\"', r'"\""', r'"\\\""', r'"\u0000\u001f"', '"a,\\"payload\\":"', r'"\\ud83d"']
)
def test_escapes(text: str) -> None:
    frame, row = both(field("string"), f'{{"a":{text}}}')
    assert row == {"a": json.loads(text)}
    assert frame in (None, row)


def test_line_ends_between_tokens_are_white_space_and_in_a_string_an_error() -> None:
    assert both(field("int64"), '\n{"a"\r\n:\n1}\n') == ({"a": 1}, {"a": 1})
    frame, reason = both(field("string"), '{"a":"x\ny"}')
    assert frame is None
    assert isinstance(reason, str)


def test_blank_payloads_do_not_shift_others() -> None:
    assert field("int64").read([b" ", b'{"a":1}']) is None
    assert field("int64").read([b" ", b'{"a":1}\n{"a":2}']) is None
    assert field("int64").read([b'{"a":1}', b"\n"]) is None


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    frame, reason = both(field("int64"), '{"a":' + "[" * depth + "]" * depth + "}")
    assert frame is None
    assert isinstance(reason, str)


BAD = {
    "truncated": lambda good: good[:-1],
    "cut": lambda good: good[:-40],
    "no payload": lambda good: good[: good.index(b',"payload":') + 11],
    "something after it": lambda good: good + b"x",
    "a brace too many": lambda good: good + b"}",
    "another field": lambda good: good[:-1] + b',"more":1}',
    "a number for a text": lambda good: good.replace('"é"'.encode(), b"5"),
    "a text for a number": lambda good: good.replace(b'"rate":0.5', b'"rate":"0.5"'),
    "null for the key": lambda good: good.replace(b'"id":500', b'"id":null'),
    "not UTF-8": lambda good: good.replace("é".encode(), b"\xff"),
    "no row": lambda good: good.replace(b'"after":{', b'"after":7,"x":{'),
    "a scalar": lambda good: good[: good.index(b',"payload":') + 11] + b"5}",
}


@pytest.mark.parametrize("kind", BAD)
def test_of_a_thousand_exactly_the_bad_one_is_refused(kind: str) -> None:
    records = JsonRecords(SIMPLE)
    changes = [SIMPLE.envelope("c", after={**PLAIN, "id": n}, gtid=f"u:{n + 1}") for n in range(1000)]
    values = [records.value(change) for change in changes]
    values[500] = BAD[kind](values[500])
    decoded = decode(values)
    assert [*decoded.refused] == [500]
    assert "é" not in decoded.refused[500]
    assert decoded.frame["ordinal"].to_list() == [*range(500), *range(501, 1000)]
    changes.pop(500)
    assert decoded.frame["after"].to_list() == [change["after"] for change in changes]


def test_a_schema_may_hold_what_looks_like_its_end() -> None:
    column = Col("payload", "VARCHAR", length=9, parameters={"a": 'x,"payload":{', "payload": "y"})
    table = Table("tricky", (SIMPLE.columns[0], column))
    records = JsonRecords(table)
    value = records.value(table.envelope("c", after={"id": 1, "payload": ',"payload":'}))
    assert value.count(b',"payload":') > 1
    assert decode([value]).frame["after"].to_list() == [{"id": 1, "payload": ',"payload":'}]


def test_tokens_tell_schemas_apart_and_are_the_same_for_one() -> None:
    wire, one, two = ConnectJson(), JsonRecords(SIMPLE), JsonRecords(Table("other", SIMPLE.columns[:2]))
    first, second = SIMPLE.envelope("c", after=PLAIN), SIMPLE.envelope("c", after={**PLAIN, "id": 2})
    token = wire.schema_of(one.key(PLAIN), one.value(first))
    other = wire.schema_of(two.key(PLAIN), two.value(Table("other", SIMPLE.columns[:2]).envelope("t")))
    assert token == wire.schema_of(one.key({"id": 2}), one.value(second))
    assert len({token, other, wire.schema_of(None, one.value(first))}) == 3
    assert wire.open(token).key == ("id",)


def test_white_space_around_the_schema() -> None:
    records = JsonRecords(SIMPLE)
    loose = (
        json.dumps(json.loads(records.value(SIMPLE.envelope("c", after=PLAIN))), indent=1).encode() + b"\n"
    )
    assert decode([loose, loose]).frame["after"].to_list() == [SIMPLE.row(PLAIN)] * 2


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"5",
        b"{}",
        b"\0\0\0\0\1x",
        b'{"schema":',
        b'{"payload":{},"schema":{}}',
        b'{"schema":{}}',
        b"\xff",
        b'{"schema":' + b"[" * 100_000,
    ],
)
def test_what_is_no_schema_with_a_payload_is_refused(value: bytes) -> None:
    with pytest.raises(RejectedError, match="the value is not JSON of a schema"):
        ConnectJson().schema_of(None, value)


@pytest.mark.parametrize(
    "schema",
    ["null", "5", "{}", '{"fields":[]}', '{"fields":[5]}', '{"type":"struct","fields":[{"field":"before"}]}'],
)
def test_a_schema_that_is_no_envelope_is_refused(schema: str) -> None:
    wire = ConnectJson()
    with pytest.raises(RejectedError):
        wire.open(wire.schema_of(None, f'{{"schema":{schema},"payload":{{}}}}'.encode()))


@pytest.mark.parametrize("part", ["value", "key"])
def test_a_map_is_refused(part: str) -> None:
    records = JsonRecords(SIMPLE)
    schema = json.loads(json.dumps(records.value_schema))
    schema["fields"][0]["fields"][1]["type"] = "map" if part == "value" else "unheard-of"
    wire = ConnectJson()
    with pytest.raises(RejectedError, match="is not what Debezium writes"):
        wire.open(wire.schema_of(None, json.dumps({"schema": schema, "payload": {}}).encode()))
