"""Avro in Confluent's wire format: columns normally, fastavro for what the columnar reader refuses."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import fastavro
import polars as pl

from sinks.errors import RejectedError
from sinks.wire.avro_block import BlockReader
from sinks.wire.avro_schema import Schema, connect_type, non_null, plain
from sinks.wire.base import Decoded, EnvelopeSchema
from sinks.wire.envelope_frame import empty_frame, envelope_frame
from sinks.wire.fields import row_field, unescape

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

MAGIC = 0
_HEADER_BYTES = 5


class _Token(NamedTuple):
    key_id: int | None
    value_id: int


@dataclass(frozen=True)
class _Opened:
    envelope: EnvelopeSchema
    reader: BlockReader
    parsed: Schema


class ConfluentAvro:
    """The ``Wire`` of Connect's Avro converters.

    Args:
        schema_text: returns the text of a schema by its id (see ``SchemaRegistry.schema_text``).
    """

    def __init__(self, schema_text: Callable[[int], str]) -> None:
        self._schema_text = schema_text
        self._opened: dict[_Token, _Opened] = {}

    def schema_of(self, key: bytes | None, value: bytes) -> Hashable:
        """See ``Wire``."""
        return _Token(None if key is None else _schema_id(key, "key"), _schema_id(value, "value"))

    def open(self, token: Hashable) -> EnvelopeSchema:
        """See ``Wire``."""
        return self._open(token).envelope

    def _open(self, token: Hashable) -> _Opened:
        assert isinstance(token, _Token)  # noqa: S101  (only schema_of makes tokens)
        opened = self._opened.get(token)
        if opened is None:
            opened = self._opened[token] = self._load(token)
        return opened

    def _load(self, token: _Token) -> _Opened:
        value_schema = _parsed_json(self._schema_text(token.value_id), token.value_id)
        fields = {f["name"]: f["type"] for f in value_schema.get("fields", ())}
        if not {"before", "after", "op", "source"} <= fields.keys():
            raise RejectedError(f"schema id {token.value_id} is not a Debezium envelope")
        image, _ = non_null(fields["before"])
        key: tuple[str, ...] = ()
        if token.key_id is not None:
            key_schema = _parsed_json(self._schema_text(token.key_id), token.key_id)
            key = tuple(unescape(f["name"]) for f in key_schema["fields"])
        columns = []
        for field in image["fields"]:
            schema, nullable = non_null(field["type"])
            semantic, parameters = connect_type(schema)
            columns.append(
                row_field(field["name"], semantic=semantic, parameters=parameters, nullable=nullable)
            )
        try:
            parsed = fastavro.parse_schema(plain(value_schema))
        except (fastavro.schema.SchemaParseException, fastavro.schema.UnknownType) as error:
            raise RejectedError(f"schema id {token.value_id} is not valid Avro") from error
        return _Opened(EnvelopeSchema(tuple(columns), key), BlockReader(value_schema), parsed)

    def decode(self, token: Hashable, values: Sequence[bytes]) -> Decoded:
        """See ``Wire``. A block that does not fit is halved until only its bad records are left."""
        opened = self._open(token)
        refused: dict[int, str] = {}
        frames: list[pl.DataFrame] = []
        spans = [(0, len(values))]
        while spans:
            start, end = spans.pop()
            frame = opened.reader.read(values[start:end])
            if frame is not None:
                frames.append(envelope_frame(frame, start))
            elif end - start > 1:
                middle = (start + end) // 2
                spans += [(middle, end), (start, middle)]
            else:
                record = _read_one(opened.parsed, values[start])
                if isinstance(record, str):
                    refused[start] = record
                else:
                    single = pl.DataFrame([record], schema=opened.reader.schema)
                    frames.append(envelope_frame(single, start))
        return Decoded(pl.concat(frames) if frames else empty_frame(), refused)


def _schema_id(record: bytes, part: str) -> int:
    if len(record) < _HEADER_BYTES or record[0] != MAGIC:
        raise RejectedError(f"the {part} is not in Confluent's Avro wire format")
    return int.from_bytes(record[1:_HEADER_BYTES], "big")


def _parsed_json(text: str, schema_id: int) -> Schema:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise RejectedError(f"schema id {schema_id} is not JSON") from error
    if not isinstance(parsed, dict):
        raise RejectedError(f"schema id {schema_id} is not a record")
    return parsed


def _read_one(parsed: Schema, value: bytes) -> dict[str, Any] | str:
    """Return one value as fastavro reads it, to its last byte, or the reason why it can't."""
    stream = io.BytesIO(value)
    stream.seek(_HEADER_BYTES)
    try:
        record: Any = fastavro.schemaless_reader(stream, parsed, None)
    except Exception as error:  # noqa: BLE001  (fastavro raises whatever the bytes lead it to)
        return f"not readable by its schema ({type(error).__name__})"
    left = len(value) - stream.tell()
    if left:
        return f"{left} bytes follow the end of the record"
    return dict(record)
