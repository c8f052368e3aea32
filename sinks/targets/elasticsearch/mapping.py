"""An index's mapping from a table's schema: every field is explicit, nothing is guessed from values.

A column is a field of its own name, but for three cases that Elasticsearch reads otherwise, escaped as in a
URL: a dot is ``%2E`` (it would nest), a name that is one of Elasticsearch's metadata fields has ``%5F`` for
its first character (``_id`` → ``%5Fid``), and ``%`` itself is ``%25``; so is ``*`` ``%2A``, which stands
for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sinks.mysql_types import rule_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sinks.table_schema import TableId, TableSchema

_METADATA = frozenset(
    {
        *("_data_stream_timestamp", "_doc_count", "_feature", "_field_names", "_id", "_ignored"),
        *("_ignored_source", "_index", "_inference_fields", "_nested_path", "_routing", "_seq_no", "_size"),
        *("_source", "_tier", "_tsid", "_type", "_version"),
    }
)
_ESCAPES = str.maketrans({"%": "%25", ".": "%2E", "*": "%2A"})

# Which fields can take what a column of another type now brings; the field's own type always can. A field
# grows along these lines and never back: a replayed batch of an older schema must not narrow it again.
_HOLDS: Mapping[str, frozenset[str]] = {
    "short": frozenset(),
    "integer": frozenset({"short"}),
    "long": frozenset({"short", "integer"}),
    "float": frozenset({"short"}),
    "double": frozenset({"short", "integer", "long", "float"}),
    "boolean": frozenset(),
    "date": frozenset(),
    "binary": frozenset(),
    "keyword+number": frozenset({"short", "integer", "long", "float", "double"}),
    "keyword": frozenset(
        {"short", "integer", "long", "float", "double", "boolean", "date", "binary", "keyword+number", "text"}
    ),
    "text": frozenset(
        {
            "short",
            "integer",
            "long",
            "float",
            "double",
            "boolean",
            "date",
            "binary",
            "keyword+number",
            "keyword",
        }
    ),
}


def field_name(column: str) -> str:
    """Return the field of a column."""
    escaped = column.translate(_ESCAPES)
    return f"%5F{escaped[1:]}" if column in _METADATA else escaped


def properties_of(schema: TableSchema) -> dict[str, Any]:
    """Return the mapping of each field."""
    return {field_name(column.name): dict(rule_of(column.type).elasticsearch) for column in schema.columns}


def mapping_of(schema: TableSchema) -> dict[str, Any]:
    """Return the whole mapping of a table's index; its ``_meta`` names the source table."""
    table = schema.table
    return {
        "dynamic": False,
        "_meta": {"cdc": {"database": table.database, "table": table.name}},
        "properties": properties_of(schema),
    }


def belongs_to(mapping: Mapping[str, Any], table: TableId) -> bool:
    """Tell whether an index with this mapping was made for the table."""
    source = mapping.get("_meta", {}).get("cdc")
    return bool(source == {"database": table.database, "table": table.name})


def missing(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that an index lacks."""
    return {name: field for name, field in wanted.items() if name not in there}


def outgrown(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that an index has under a type that can't take the column's values any more."""
    return dict(_outgrown(there, wanted))


def _outgrown(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, field in wanted.items():
        old = there.get(name)
        if old is None or old.get("enabled") is False:
            continue
        before, now = _family(old), _family(field)
        if before != now and now not in _HOLDS.get(before, frozenset()):
            yield name, field


def _family(field: Mapping[str, Any]) -> str:
    kind = str(field.get("type", "object"))
    return "keyword+number" if kind == "keyword" and "number" in field.get("fields", {}) else kind
