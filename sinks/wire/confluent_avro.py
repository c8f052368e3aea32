"""Avro in Confluent's wire format: columns normally, fastavro for what the columnar reader refuses."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import fastavro

from sinks.errors import OutageError, RejectedError
from sinks.wire.avro_block import BlockReader
from sinks.wire.avro_schema import Schema, connect_type, named_types, non_null, plain, resolved
from sinks.wire.envelope_frame import require_envelope
from sinks.wire.fields import SOURCE_NAME, WireField, envelope_schema
from sinks.wire.sieve import sieve

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    import polars as pl

    from sinks.wire.base import Decoded, EnvelopeSchema

MAGIC = 0
_HEADER_BYTES = 5


class _Token(NamedTuple):
    key_id: int | None
    value_id: int


@dataclass(frozen=True)
class _Opened:
    envelope: EnvelopeSchema
    reader: _Reader


class ConfluentAvro:
    """The ``Wire`` of Connect's Avro converters.

    Args:
        schema_text: returns the text of a schema by its id (see ``SchemaRegistry.schema_text``).
    """

    def __init__(self, schema_text: Callable[[int], str]) -> None:
        self._schema_text = schema_text
        self._tokens: dict[tuple[bytes | None, bytes], _Token] = {}
        self._opened: dict[_Token, _Opened] = {}

    def schema_of(self, key: bytes | None, value: bytes) -> Hashable:
        """See ``Wire``."""
        headers = (None if key is None else key[:_HEADER_BYTES], value[:_HEADER_BYTES])
        token = self._tokens.get(headers)
        if token is None:
            key_id = None if headers[0] is None else _schema_id(headers[0], "key")
            token = self._tokens[headers] = _Token(key_id, _schema_id(headers[1], "value"))
        return token

    def key_of(self, key: bytes) -> bytes:
        """See ``Wire``."""
        _schema_id(key[:_HEADER_BYTES], "key")
        return key[_HEADER_BYTES:]

    def key_values(self, key: bytes) -> Mapping[str, Any]:
        """See ``Wire``."""
        schema_id = _schema_id(key[:_HEADER_BYTES], "key")
        try:
            schema = fastavro.parse_schema(plain(_record(self._schema_text(schema_id), schema_id)))
            stream = io.BytesIO(key)
            stream.seek(_HEADER_BYTES)
            values: Any = fastavro.schemaless_reader(stream, schema, None)
        except (RejectedError, OutageError):
            raise
        except Exception as error:  # fastavro raises whatever the bytes lead it to
            raise RejectedError("the key is not readable by its schema") from error
        return dict(values)

    def open(self, token: Hashable) -> EnvelopeSchema:
        """See ``Wire``."""
        return self._open(token).envelope

    def decode(self, token: Hashable, values: Sequence[bytes]) -> Decoded:
        """See ``Wire``."""
        return sieve(self._open(token).reader, values)

    def record(self, value: bytes) -> dict[str, Any]:
        """See ``Wire``."""
        schema_id = _schema_id(value[:_HEADER_BYTES], "value")
        schema = fastavro.parse_schema(plain(_record(self._schema_text(schema_id), schema_id)))
        read = _read_one(value, schema)
        if isinstance(read, str):
            raise RejectedError(read)
        return read

    def _open(self, token: Hashable) -> _Opened:
        assert isinstance(token, _Token)  # noqa: S101  (only schema_of makes tokens)
        opened = self._opened.get(token)
        if opened is None:
            opened = self._opened[token] = self._load(token)
        return opened

    def _load(self, token: _Token) -> _Opened:
        schema = _record(self._schema_text(token.value_id), token.value_id)
        key: list[str] = []
        if token.key_id is not None:
            key = [f["name"] for f in _record(self._schema_text(token.key_id), token.key_id)["fields"]]
        try:
            return _Opened(envelope_schema(_row_fields(schema), key), _Reader(schema))
        except (fastavro.schema.SchemaParseException, KeyError, TypeError, AttributeError) as error:
            raise RejectedError(f"schema id {token.value_id} is not valid Avro") from error


class _Reader:
    """See ``RecordReader``."""

    def __init__(self, schema: Schema) -> None:
        self._parsed = fastavro.parse_schema(plain(schema))
        self._block = BlockReader(schema)
        self.schema = self._block.schema

    def read(self, values: Sequence[bytes]) -> pl.DataFrame | None:
        return self._block.read(values)

    def read_one(self, value: bytes) -> dict[str, Any] | str:
        return _read_one(value, self._parsed)


def _read_one(value: bytes, parsed: Schema) -> dict[str, Any] | str:
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


def _row_fields(envelope: Schema) -> Iterator[WireField]:
    named = named_types(envelope)
    types = {f["name"]: non_null(f["type"])[0] for f in envelope["fields"]}
    source = resolved(types.get("source"), named, envelope.get("namespace", ""))
    require_envelope(types.keys(), {f["name"] for f in source["fields"]} if source else ())
    row = types["before"]
    for field in row["fields"]:
        schema, nullable = non_null(field["type"])
        definition = resolved(schema, named, row.get("namespace", envelope.get("namespace", "")))
        semantic, parameters = connect_type(definition)
        if definition is not schema:
            # The type was defined for another column: its name is not this one's.
            parameters = {of: value for of, value in parameters.items() if of != SOURCE_NAME}
        yield WireField(field["name"], semantic, parameters, nullable)


def _schema_id(header: bytes, part: str) -> int:
    if len(header) < _HEADER_BYTES or header[0] != MAGIC:
        raise RejectedError(f"the {part} is not in Confluent's Avro wire format")
    return int.from_bytes(header[1:], "big")


def _record(text: str, schema_id: int) -> Schema:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise RejectedError(f"schema id {schema_id} is not JSON") from error
    if not isinstance(parsed, dict) or not isinstance(parsed.get("fields"), list):
        raise RejectedError(f"schema id {schema_id} is not a record")
    return parsed
