"""What every wire format gives: one shape of columns, whichever bytes it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    import polars as pl

    from sinks.table_schema import MysqlType


@dataclass(frozen=True)
class RowField:
    """One column of a captured table, as a wire schema describes it.

    Attributes:
        name: the column's own name at the source.
        wire_name: the field's name in the decoded struct.
        type: its MySQL type.
        nullable: whether it may hold NULL.
        value: expression from the decoded struct's field to the form that ``Kind`` documents; applied to
            ``pl.col(wire_name)`` of the unnested row.
    """

    name: str
    wire_name: str
    type: MysqlType
    nullable: bool
    value: pl.Expr


@dataclass(frozen=True)
class EnvelopeSchema:
    """A pair of key and value schemas of one captured table.

    Attributes:
        fields: the table's columns in order.
        key: names of the key columns in order; empty for a table without a key.
    """

    fields: tuple[RowField, ...]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Decoded:
    """Records of one schema as columns.

    Attributes:
        frame: a row per good record, in order: ``ordinal`` Int64 (its index in the input), ``op``,
            ``database``, ``table``, ``gtid``, ``snapshot`` String, ``source_ms`` Int64, ``order`` Int64
            (place in the transaction, from 1), ``before`` and ``after``: structs of the wire's own fields.
        refused: index in the input to the reason why that record can't be decoded.
    """

    frame: pl.DataFrame
    refused: Mapping[int, str]


class Wire(Protocol):
    """A wire format of Kafka Connect."""

    def schema_of(self, key: bytes | None, value: bytes) -> Hashable:
        """Return a cheap token: records of equal tokens have the same key schema and value schema.

        Raises:
            RejectedError: the bytes are not of this format.
        """
        ...

    def key_of(self, key: bytes) -> bytes:
        """Return a key's identity: its bytes without what names its schema, which may change.

        Raises:
            RejectedError: the bytes are not of this format.
        """
        ...

    def key_values(self, key: bytes) -> Mapping[str, Any]:
        """Return the values of a key by column, for people.

        Raises:
            RejectedError: the bytes are not of this format.
            OutageError: the registry can't be reached.
        """
        ...

    def open(self, token: Hashable) -> EnvelopeSchema:
        """Return what a token stands for; remembered.

        Raises:
            RejectedError: the schema is unknown or not a Debezium envelope.
            OutageError: the registry can't be reached.
        """
        ...

    def decode(self, token: Hashable, values: Sequence[bytes]) -> Decoded:
        """Decode the values of records of one token. What can't be decoded is named, never dropped."""
        ...

    def record(self, value: bytes) -> dict[str, Any]:
        """Return one record of whatever schema as plain values, by field name.

        Raises:
            RejectedError: it can't be read.
            OutageError: the registry can't be reached.
        """
        ...


ENVELOPE_COLUMNS = (
    "ordinal",
    "op",
    "database",
    "table",
    "gtid",
    "snapshot",
    "source_ms",
    "order",
    "before",
    "after",
)
