from __future__ import annotations

import io
import json
import struct
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.errors import RejectedError
from sinks.wire.avro_block import BlockReader
from sinks.wire.avro_schema import plain

HEADER = b"\0\0\0\0\7"
SCHEMA = {
    "type": "record",
    "name": "Row",
    "fields": [
        {"name": "number", "type": "long"},
        {"name": "text", "type": ["null", "string"]},
        {"name": "raw", "type": "bytes"},
        {"name": "list", "type": ["null", {"type": "array", "items": "float"}]},
        {"name": "flag", "type": "boolean"},
    ],
}
LONG = st.integers(-(2**63), 2**63 - 1)


def varint(number: int) -> bytes:
    left, out = (number << 1 ^ number >> 63) & (1 << 64) - 1, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def payload(
    number: bytes = b"\2",
    text: bytes = b"\2\2x",
    raw: bytes = b"\4\0\1",
    floats: bytes = b"\2\2" + struct.pack("<f", 1.5) + b"\0",
    flag: bytes = b"\1",
) -> bytes:
    return HEADER + number + text + raw + floats + flag


GOOD = payload()
BAD = {
    "truncated": GOOD[:-1],
    "cut in the middle": GOOD[:9],
    "only a header": HEADER,
    "one byte too many": GOOD + b"\1",
    "a zero too many": GOOD + b"\0",
    "eight zeros too many": GOOD + bytes(8),
    "twice": GOOD + GOOD[5:],
    "not UTF-8": payload(text=b"\2\4\xff\xfe"),
    "half of a surrogate pair": payload(text=b"\2\6\xed\xa0\x80"),
    "negative length": payload(text=b"\2" + varint(-5)),
    "least length": payload(raw=varint(-(2**63))),
    "huge length of text": payload(text=b"\2" + varint(2**62)),
    "huge length of bytes": payload(raw=varint(2**40)),
    "length past the end": payload(raw=varint(2**20)),
    "huge array": payload(floats=b"\2" + varint(2**60)),
    "array of a thousand million": payload(floats=b"\2" + varint(10**9) + b"\2"),
    "array of a negative count": payload(floats=b"\2" + varint(-(2**63)) + varint(4) + bytes(4) + b"\0"),
    "an endless number": payload(number=b"\xff" * 40),
}


def oracle(values: list[bytes], schema: Any) -> list[Any]:  # noqa: ANN401  (fastavro's own)
    parsed = fastavro.parse_schema(plain(schema))
    return [fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None) for value in values]


def test_payloads_are_rows_in_order() -> None:
    values = [payload(number=varint(n)) for n in (0, -1, 2**63 - 1, -(2**63))]
    frame = BlockReader(SCHEMA).read(values)
    assert frame is not None
    assert frame.to_dicts() == oracle(values, SCHEMA)
    assert frame.schema == BlockReader(SCHEMA).schema


@pytest.mark.parametrize("place", ["alone", "first", "middle", "last"])
@pytest.mark.parametrize("bad", BAD)
def test_a_payload_that_does_not_fit_is_never_read(bad: str, place: str) -> None:
    before, after = {"alone": (0, 0), "first": (0, 9), "middle": (5, 5), "last": (9, 0)}[place]
    assert BlockReader(SCHEMA).read([GOOD] * before + [BAD[bad]] + [GOOD] * after) is None


def test_another_schemas_record_is_never_read() -> None:
    assert BlockReader(SCHEMA).read([GOOD, b"\0\0\0\0\6" + GOOD[5:]]) is None


def test_bytes_that_one_payload_lacks_and_the_next_has_too_many_are_noticed() -> None:
    assert BlockReader(SCHEMA).read([GOOD[:-1], b"\1" + GOOD]) is None
    assert BlockReader(SCHEMA).read([GOOD[:-2], GOOD + GOOD[-2:]]) is None


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4))
def test_of_random_bytes_only_what_the_oracle_reads_whole_is_read(bodies: list[bytes]) -> None:
    values = [HEADER + body for body in bodies]
    frame = BlockReader(SCHEMA).read(values)
    if frame is not None:
        assert frame.height == len(values)
        parsed = fastavro.parse_schema(plain(SCHEMA))
        for value, row in zip(values, frame.drop("flag", "text").iter_rows(named=True), strict=True):
            stream = io.BytesIO(value[5:])
            try:
                expected: Any = fastavro.schemaless_reader(stream, parsed, None)
            except IndexError:
                continue  # a branch of a union that does not exist: polars takes the one that is not null
            assert stream.tell() == len(value) - 5
            assert repr({k: expected[k] for k in row}) == repr(row)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "number": LONG,
                "text": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
                "raw": st.binary(),
                "list": st.none() | st.lists(st.floats(width=32, allow_nan=False)),
                "flag": st.booleans(),
            }
        ),
        min_size=1,
    )
)
def test_values_are_those_that_were_written(rows: list[dict[str, Any]]) -> None:
    values = []
    for row in rows:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), row)
        values.append(HEADER + out.getvalue())
    frame = BlockReader(SCHEMA).read(values)
    assert frame is not None
    assert repr(frame.to_dicts()) == repr([{name: row[name] for name in frame.columns} for row in rows])


def test_named_types_are_inlined_where_they_are_referred_to() -> None:
    point = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int", "default": 3}]}
    schema = {
        "type": "record",
        "name": "Row",
        "namespace": "a.b",
        "fields": [
            {"name": "one", "type": ["null", point], "default": None},
            {"name": "two", "type": "Point"},
            {"name": "three", "type": {"type": "array", "items": "a.b.Point"}},
            {"name": "four", "type": {"type": "map", "values": {"type": "fixed", "name": "F", "size": 2}}},
            {"name": "five", "type": {"type": "enum", "name": "E", "symbols": ["S"]}},
        ],
    }
    inlined = plain(schema)
    names = [text.split('"')[0] for text in json.dumps(inlined).split('"name": "')[1:]]
    assert "Point" not in json.dumps(inlined)
    assert len({name for name in names if name[0] in "ref" and name[1:].isdigit()}) == 6
    assert "default" not in json.dumps(inlined)


def test_a_recursive_schema_is_refused() -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]}
    with pytest.raises(RejectedError, match="recursive"):
        plain(schema)


def test_the_frame_has_raw_physical_types() -> None:
    assert dict(BlockReader(SCHEMA).schema) == {
        "number": pl.Int64,
        "text": pl.String,
        "raw": pl.Binary,
        "list": pl.List(pl.Float32),
        "flag": pl.Boolean,
    }
