"""JSON of Kafka Connect's ``JsonConverter`` with its schema in every record, read as columns.

The converter needs ``schemas.enable=true`` and ``replace.null.with.default=false``. A record is
``{"schema":…,"payload":…}``; records of one schema start with the same bytes, so a schema is parsed once.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sinks.errors import RejectedError
from sinks.wire.envelope_frame import require_envelope
from sinks.wire.fields import WireField, envelope_schema
from sinks.wire.json_block import ConnectSchema, JsonBlockReader
from sinks.wire.sieve import sieve

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from sinks.wire.base import Decoded, EnvelopeSchema

_OPENING = re.compile(r'\s*\{\s*"schema"\s*:\s*')
_BETWEEN = re.compile(r'\s*,\s*"payload"\s*:')
_DECODER = json.JSONDecoder()


class _Token(NamedTuple):
    """What the key and the value start with, up to and with ``"payload":``."""

    key: bytes | None
    value: bytes


@dataclass(frozen=True)
class _Opened:
    envelope: EnvelopeSchema
    reader: JsonBlockReader


class _Heads:
    """Finds where a record's payload begins: by its first bytes when they are known, else by parsing.

    Splitting at the first ``,"payload":`` would be wrong where a schema holds that name, as a default does.
    """

    def __init__(self) -> None:
        self._known: list[bytes] = []

    def of(self, record: bytes, part: str) -> bytes:
        for place, head in enumerate(self._known):
            if record.startswith(head):
                if place:
                    self._known.insert(0, self._known.pop(place))
                return head
        head = _head(record, part)
        self._known.insert(0, head)
        return head


class ConnectJson:
    """The ``Wire`` of Connect's ``JsonConverter``."""

    def __init__(self) -> None:
        self._keys = _Heads()
        self._values = _Heads()
        self._opened: dict[_Token, _Opened] = {}

    def schema_of(self, key: bytes | None, value: bytes) -> Hashable:
        """See ``Wire``."""
        return _Token(None if key is None else self._keys.of(key, "key"), self._values.of(value, "value"))

    def key_of(self, key: bytes) -> bytes:
        """See ``Wire``."""
        return key[len(self._keys.of(key, "key")) :]

    def key_values(self, key: bytes) -> Mapping[str, Any]:
        """See ``Wire``."""
        try:
            payload = json.loads(key)["payload"]
        except (ValueError, TypeError, KeyError) as error:
            raise RejectedError("the key is not JSON of a schema and a payload") from error
        return dict(payload)

    def open(self, token: Hashable) -> EnvelopeSchema:
        """See ``Wire``."""
        return self._open(token).envelope

    def decode(self, token: Hashable, values: Sequence[bytes]) -> Decoded:
        """See ``Wire``."""
        opened = self._open(token)
        assert isinstance(token, _Token)  # noqa: S101  (only schema_of makes tokens)
        start = len(token.value)
        # What does not end in a brace keeps all its bytes, and is refused for what it is.
        payloads = [
            value[start:-1] if value.endswith(b"}") else value[start:].rstrip().removesuffix(b"}")
            for value in values
        ]
        return sieve(opened.reader, payloads)

    def record(self, value: bytes) -> dict[str, Any]:
        """See ``Wire``."""
        try:
            payload = json.loads(value)["payload"]
        except (ValueError, KeyError, TypeError) as error:
            raise RejectedError("the value is not JSON of a schema and a payload") from error
        if not isinstance(payload, dict):
            raise RejectedError("the payload is not a struct")
        return payload

    def _open(self, token: Hashable) -> _Opened:
        assert isinstance(token, _Token)  # noqa: S101  (only schema_of makes tokens)
        opened = self._opened.get(token)
        if opened is None:
            opened = self._opened[token] = _load(token)
        return opened


def _head(record: bytes, part: str) -> bytes:
    try:
        text = record.decode()
        opening = _OPENING.match(text)
        end = _DECODER.raw_decode(text, opening.end())[1] if opening else 0
        between = _BETWEEN.match(text, end)
    except (ValueError, RecursionError):
        between = None
    if between is None:
        raise RejectedError(f"the {part} is not JSON of a schema and a payload")
    return text[: between.end()].encode()


def _load(token: _Token) -> _Opened:
    value, key = _schema(token.value), () if token.key is None else _schema(token.key)["fields"]
    try:
        return _Opened(envelope_schema(_row_fields(value), [f["field"] for f in key]), JsonBlockReader(value))
    except (KeyError, TypeError, AttributeError) as error:
        raise RejectedError("the record's schema is not one of Connect") from error


def _schema(head: bytes) -> Any:  # noqa: ANN401  (parsed JSON)
    schema = json.loads(head + b"0}")["schema"]
    if not isinstance(schema, dict) or not isinstance(schema.get("fields"), list):
        raise RejectedError("the record's schema is not a struct")
    return schema


def _row_fields(envelope: ConnectSchema) -> Iterator[WireField]:
    fields = {f["field"]: f for f in envelope["fields"]}
    require_envelope(fields.keys(), {f["field"] for f in fields.get("source", {}).get("fields", ())})
    for f in fields["before"]["fields"]:
        yield WireField(f["field"], f.get("name"), f.get("parameters", {}), f.get("optional", False))
