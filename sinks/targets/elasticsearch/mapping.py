"""An index's mapping from a table's schema: every field is explicit, nothing is guessed from values.

A column is a field of its own name, but for three cases that Elasticsearch reads otherwise, escaped as in a
URL: a dot is ``%2E`` (it would nest), a name that is one of Elasticsearch's metadata fields has ``%5F`` for
its first character (``_id`` → ``%5Fid``), and ``%`` itself is ``%25``; so is ``*`` ``%2A``, which stands
for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sinks.mysql_types import MYSQL_TYPES, rule_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinks.table_schema import MysqlType, TableId, TableSchema

_METADATA = frozenset(
    {
        *("_data_stream_timestamp", "_doc_count", "_feature", "_field_names", "_id", "_ignored"),
        *("_ignored_source", "_index", "_inference_fields", "_nested_path", "_routing", "_seq_no", "_size"),
        *("_source", "_tier", "_tsid", "_type", "_version"),
    }
)
_ESCAPES = str.maketrans({"%": "%25", ".": "%2E", "*": "%2A"})

# What each field can take besides its own type. A field grows along these lines and never back: a replayed
# batch of an older schema must not narrow it again. A field that is not parsed (JSON) takes everything.
_WHOLE = frozenset({"short", "integer", "long"})
_NUMERIC = _WHOLE | {"float", "double"}
_SCALAR = _NUMERIC | {"boolean", "date", "binary", "keyword", "keyword+number", "text"}
_HOLDS: Mapping[str, frozenset[str]] = {
    "integer": frozenset({"short"}),
    "long": _WHOLE,
    "float": frozenset({"short"}),
    "double": _NUMERIC,
    "keyword+number": _NUMERIC,
    "keyword": _SCALAR,
    "text": _SCALAR,
    "object": _SCALAR,
}
_DOUBLE: Mapping[str, Any] = {"type": "double"}


def field_name(column: str) -> str:
    """Return the field of a column."""
    escaped = column.translate(_ESCAPES)
    return f"%5F{escaped[1:]}" if column in _METADATA else escaped


def properties_of(schema: TableSchema) -> dict[str, Any]:
    """Return the mapping of each field."""
    return {field_name(column.name): dict(rule_of(column.type).elasticsearch) for column in schema.columns}


def described(schema: TableSchema) -> dict[str, Any]:
    """Return what an index remembers of its table's definition, to follow the next change of it."""
    columns = {field_name(column.name): _declared(column.type) for column in schema.columns}
    return {"columns": columns, "key": [field_name(name) for name in schema.key]}


def _declared(of: MysqlType) -> str:
    """Write a type as in ``DECIMAL(10,2)``."""
    sizes = ",".join(str(size) for size in (of.length, of.scale) if size is not None)
    return f"{of.name}({sizes})" if sizes else of.name


def mapping_of(schema: TableSchema) -> dict[str, Any]:
    """Return the whole mapping of a table's index; its ``_meta`` names the source table."""
    table = schema.table
    return {
        "dynamic": False,
        "_meta": {"cdc": {"database": table.database, "table": table.name} | described(schema)},
        "properties": properties_of(schema),
    }


def belongs_to(mapping: Mapping[str, Any], table: TableId) -> bool:
    """Tell whether an index with this mapping was made for the table."""
    source = mapping.get("_meta", {}).get("cdc", {})
    return (source.get("database"), source.get("table")) == (table.database, table.name)


def missing(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that an index lacks."""
    return {name: field for name, field in wanted.items() if name not in there}


def outgrown(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an index that can't take their columns' values any more, as they have to be."""
    return {
        name: _joined(there[name], field)
        for name, field in wanted.items()
        if name in there and not _takes(_family(there[name]), _family(field))
    }


def _joined(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the narrowest field that takes both: what the column is now, or else a number, or else text."""
    before, now = _family(there), _family(wanted)
    if _takes(now, before):
        return dict(wanted)
    return dict(_DOUBLE if {before, now} <= _NUMERIC else MYSQL_TYPES["TEXT"].elasticsearch)


def _takes(family: str, other: str) -> bool:
    return family == other or other in _HOLDS.get(family, ())


def _family(field: Mapping[str, Any]) -> str:
    kind = str(field.get("type", "object"))
    return "keyword+number" if kind == "keyword" and "number" in field.get("fields", {}) else kind
