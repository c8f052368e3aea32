"""Records as Debezium's MySQL connector and Connect's converters write them, checked against real ones."""

from __future__ import annotations

import base64
import io
import json
import struct
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import fastavro

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]
Envelope = dict[str, Any]

UUID = "40393555-e77b-11f1-bd79-02fc00000001"
DECIMAL = "org.apache.kafka.connect.data.Decimal"
AVRO_TYPES = {
    "int8": "int",
    "int16": "int",
    "int32": "int",
    "int64": "long",
    "float": "float",
    "double": "double",
    "boolean": "boolean",
    "string": "string",
    "bytes": "bytes",
}


def adjusted(name: str) -> str:
    """Return a name as ``avro_unicode`` adjusts it."""
    plain = "".join(c if c.isascii() and c.isalnum() else f"_u{ord(c):04x}" for c in name)
    return f"_u{ord(name[0]):04x}{plain[1:]}" if name[0].isdigit() else plain


@dataclass(frozen=True)
class Col:
    """One column as Debezium describes it. ``wire`` is Connect's type; a list holds a struct's fields."""

    name: str
    declared: str
    wire: str | list[Col] = "string"
    semantic: str | None = None
    length: int | None = None
    scale: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    nullable: bool = True
    default: Any = None
    inner: bool = False

    @property
    def field_name(self) -> str:
        return self.name if self.inner else adjusted(self.name)

    @cached_property
    def all_parameters(self) -> dict[str, str]:
        if self.inner:
            return {}
        found = {**self.parameters, "__debezium.source.column.type": self.declared}
        if self.length is not None:
            found["__debezium.source.column.length"] = str(self.length)
        if self.scale is not None:
            found["__debezium.source.column.scale"] = str(self.scale)
        return {**found, "__debezium.source.column.name": self.name}

    def avro(self) -> dict[str, Any]:
        body: dict[str, Any]
        if isinstance(self.wire, list):
            namespace, _, name = str(self.semantic).rpartition(".")
            body = {"type": "record", "name": name, "namespace": namespace}
            body["fields"] = [column.avro() for column in self.wire]
        elif self.wire == "array":
            body = {"type": "array", "items": "float"}
        else:
            body = {"type": AVRO_TYPES[self.wire]}
        if self.all_parameters:
            body["connect.parameters"] = self.all_parameters
        if self.semantic:
            body |= {"connect.version": 1, "connect.name": self.semantic}
        if self.semantic == DECIMAL:
            body |= {"scale": 0, "precision": 20, "logicalType": "decimal"}
        if self.default is not None:
            body["connect.default"] = self.default
        simple: Any = body["type"] if body.keys() == {"type"} else body
        if not self.nullable:
            return {"name": self.field_name, "type": simple}
        if self.default is not None:
            return {"name": self.field_name, "type": [simple, "null"], "default": self.default}
        return {"name": self.field_name, "type": ["null", simple], "default": None}

    def connect(self) -> dict[str, Any]:
        body: dict[str, Any] = {"type": self.wire, "optional": self.nullable}
        if isinstance(self.wire, list):
            body = {"type": "struct", "fields": [c.connect() for c in self.wire], "optional": self.nullable}
        elif self.wire == "array":
            body["items"] = {"type": "float", "optional": False}
        if self.semantic:
            body |= {"name": self.semantic, "version": 1}
        if self.all_parameters:
            body["parameters"] = self.all_parameters
        if self.default is not None:
            body["default"] = self.default
        return {**body, "field": self.field_name}


def inner(name: str, wire: str, *, nullable: bool = True, default: str | None = None) -> Col:
    return Col(name, "", wire, nullable=nullable, default=default, inner=True)


SOURCE = [
    inner("version", "string", nullable=False),
    inner("connector", "string", nullable=False),
    inner("name", "string", nullable=False),
    inner("ts_ms", "int64", nullable=False),
    inner("snapshot", "string", default="false"),
    inner("db", "string", nullable=False),
    inner("sequence", "string"),
    inner("ts_us", "int64"),
    inner("ts_ns", "int64"),
    inner("table", "string"),
    inner("server_id", "int64", nullable=False),
    inner("gtid", "string"),
    inner("file", "string", nullable=False),
    inner("pos", "int64", nullable=False),
    inner("row", "int32", nullable=False),
    inner("thread", "int64"),
    inner("query", "string"),
]
TRANSACTION = [
    inner("id", "string", nullable=False),
    inner("total_order", "int64", nullable=False),
    inner("data_collection_order", "int64", nullable=False),
]


@dataclass(frozen=True)
class Table:
    """A captured table; ``key`` names its key columns."""

    name: str
    columns: Sequence[Col]
    key: Sequence[str] = ("id",)
    database: str = "shop"

    def row(self, row: Row) -> Row:
        """Return a row of these columns under their names on the wire."""
        return {column.field_name: row.get(column.name, column.default) for column in self.columns}

    def envelope(
        self,
        op: str,
        *,
        before: Row | None = None,
        after: Row | None = None,
        gtid: str | None = f"{UUID}:1",
        order: int | None = 1,
        source_ms: int = 1_700_000_000_000,
        snapshot: str | None = None,
    ) -> Envelope:
        """Return an envelope; rows are given under the columns' own names."""
        source = dict.fromkeys((column.name for column in SOURCE), None) | {
            "version": "3.6.1.Final",
            "connector": "mysql",
            "name": "cdc",
            "ts_ms": source_ms,
            "snapshot": snapshot,
            "db": self.database,
            "table": self.name,
            "server_id": 1,
            "gtid": gtid,
            "file": "binlog.000001",
            "pos": 4,
            "row": 0,
        }
        block = {"id": str(gtid), "total_order": order, "data_collection_order": order}
        return {
            "before": None if before is None else self.row(before),
            "after": None if after is None else self.row(after),
            "source": source,
            "transaction": None if order is None else block,
            "op": op,
            "ts_ms": source_ms + 5,
            "ts_us": None,
            "ts_ns": None,
        }

    @property
    def _key_columns(self) -> list[Col]:
        named = {column.name: column for column in self.columns}
        return [replace(named[name], nullable=False, default=None) for name in self.key]

    def key_of(self, row: Row) -> Row | None:
        """Return a row's key as the wire has it; None for a table without one."""
        return {column.field_name: row[column.name] for column in self._key_columns} or None


class AvroRecords:
    """Writes a table's records as the Avro converter does, under the given ids."""

    def __init__(self, table: Table, key_id: int = 1, value_id: int = 2) -> None:
        space = f"cdc.{adjusted(table.database)}.{adjusted(table.name)}"
        row = {"type": "record", "name": "Value", "fields": [c.avro() for c in table.columns]}
        envelope = [
            {"name": "before", "type": ["null", row], "default": None},
            {"name": "after", "type": ["null", "Value"], "default": None},
            Col(
                "source", "", SOURCE, "io.debezium.connector.mysql.Source", nullable=False, inner=True
            ).avro(),
            Col("transaction", "", TRANSACTION, "event.block", inner=True).avro(),
            inner("op", "string", nullable=False).avro(),
            *(inner(name, "int64").avro() for name in ("ts_ms", "ts_us", "ts_ns")),
        ]
        self.value_schema = {"type": "record", "name": "Envelope", "namespace": space, "fields": envelope}
        # Keys carry no parameters.
        fields = [replace(c, inner=True, name=c.field_name).avro() for c in table._key_columns]
        self.key_schema = {"type": "record", "name": "Key", "namespace": space, "fields": fields}
        self.texts = {value_id: json.dumps(self.value_schema)}
        if table.key:
            self.texts[key_id] = json.dumps(self.key_schema)
        self.parsed = fastavro.parse_schema(json.loads(self.texts[value_id]))
        self._parsed_key = fastavro.parse_schema(json.loads(json.dumps(self.key_schema)))
        self._ids = (key_id, value_id)
        self._table = table

    def key(self, row: Row) -> bytes | None:
        key = self._table.key_of(row)
        return None if key is None else self._written(self._ids[0], self._parsed_key, key)

    def value(self, envelope: Envelope) -> bytes:
        return self._written(self._ids[1], self.parsed, envelope)

    @staticmethod
    def _written(schema_id: int, schema: Any, datum: Row) -> bytes:  # noqa: ANN401  (fastavro's own)
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, datum)
        return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


class JsonRecords:
    """Writes a table's records as ``JsonConverter`` does."""

    def __init__(self, table: Table) -> None:
        row = Col("", "", list(table.columns), f"cdc.{table.name}.Value", inner=True)
        self.value_schema = {
            "type": "struct",
            "fields": [
                {**row.connect(), "field": "before"},
                {**row.connect(), "field": "after"},
                Col("source", "", SOURCE, "io.debezium.Source", nullable=False, inner=True).connect(),
                Col("transaction", "", TRANSACTION, "event.block", inner=True).connect(),
                inner("op", "string", nullable=False).connect(),
                *(inner(name, "int64").connect() for name in ("ts_ms", "ts_us", "ts_ns")),
            ],
            "optional": False,
            "name": "cdc.Envelope",
        }
        fields = [replace(c, inner=True, name=c.field_name).connect() for c in table._key_columns]
        self.key_schema = {"type": "struct", "fields": fields, "optional": False, "name": "cdc.Key"}
        self._table = table

    def key(self, row: Row) -> bytes | None:
        key = self._table.key_of(row)
        return None if key is None else self.written(self.key_schema, key)

    def value(self, envelope: Envelope) -> bytes:
        return self.written(self.value_schema, envelope)

    @staticmethod
    def written(schema: Any, payload: Row) -> bytes:  # noqa: ANN401  (parsed JSON)
        record = {"schema": schema, "payload": json_value(payload, schema)}
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


class _Shortest(float):
    """A single-precision number that is written in as few digits as Java writes."""

    def __repr__(self) -> str:
        texts = (f"{float(self):.{digits}g}" for digits in range(1, 10))
        return next(t for t in texts if struct.pack("f", float(t)) == struct.pack("f", self))


def json_value(value: Any, schema: Any) -> Any:  # noqa: ANN401  (parsed JSON)
    """Return a value as Connect's JSON has it."""
    if value is None:
        return None
    match schema["type"]:
        case "struct":
            return {f["field"]: json_value(value[f["field"]], f) for f in schema["fields"]}
        case "array":
            return [json_value(item, schema["items"]) for item in value]
        case "bytes":
            return base64.b64encode(value).decode()
        case "float":
            return float(repr(_Shortest(value)))
        case _:
            return value
