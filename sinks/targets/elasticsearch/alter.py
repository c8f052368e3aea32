"""An index follows a change of its table's definition: a field put, or all documents carried over.

A document keeps its version. What a document holds is turned into what its row holds now, by the MySQL types
of its columns before and after; the index's ``_meta`` keeps them, its key, and the last change applied, so
that a change that comes again is passed over.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sinks.change import pack_version
from sinks.mysql_types import MYSQL_TYPES
from sinks.table_schema import MysqlType
from sinks.targets.elasticsearch.convert import converted, default_of, document_id, nothing
from sinks.targets.elasticsearch.mapping import described, field_name, mapping_of, properties_of
from sinks.targets.elasticsearch.rebuild import rebuild, removed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinks.table_schema import TableSchema
    from sinks.targets.base import SchemaChange
    from sinks.targets.elasticsearch.indices import Indices

_LOG = logging.getLogger(__name__)


def follow(indices: Indices, change: SchemaChange, generation: int) -> None:
    """Bring a table's index to its new definition; nothing to do if it has none.

    1. Pass over what was applied: this batch came before, and its progress was not stored.
    2. Remove the index of a dropped table.
    3. Put the fields that are new, where no document has to change.
    4. Else carry all documents over to a new index, and swap the alias: by another name for a renamed table.

    Args:
        indices: of the target.
        change: what changed.
        generation: of the topic that the change's offset is in.

    Raises:
        FatalError: a value can't be turned into its new type; the index is as it was.
    """
    there = indices.index_of(change.table)
    if there is None:
        return
    alias, index, mapping = there
    meta = dict(mapping["_meta"]["cdc"])
    topic_id, offset = meta.get("schema", ("", -1))
    if topic_id == change.position[0] and offset >= change.position[1]:  # 1
        return
    indices.forget()
    if change.after is None:  # 2
        removed(indices.client, alias)
        return
    wanted = _mapping(change, mapping)
    if change.after == change.table and change.schema is not None:
        fields = _additions(change, change.schema, mapping)
        if fields is not None:  # 3
            body = {"properties": fields, "_meta": wanted["_meta"]}
            indices.put_mapping(index, body)
            return
    carry = _Carrier(change, meta)
    if change.after == change.table:  # 4
        rebuild(indices.client, alias, index, wanted, carry=carry)
    else:
        # Below every later change in the new name's topic, whose offsets have nothing to do with the old's.
        version = max(pack_version(generation, change.offset) - 1, 0)
        carry.version = version
        rebuild(indices.client, indices.free_alias(change.after), index, wanted, carry=carry, other_name=True)
    _LOG.info(
        "index rebuilt for a schema change",
        extra={"action": "schema_changed", "table": str(change.table), "after": str(change.after)},
    )


def _mapping(change: SchemaChange, there: Mapping[str, Any]) -> dict[str, Any]:
    assert change.after is not None  # noqa: S101  (a dropped table has no mapping)
    if change.schema is not None:
        mapping = mapping_of(change.schema)
    else:
        cdc = there["_meta"]["cdc"] | {"database": change.after.database, "table": change.after.name}
        mapping = {**there, "_meta": {"cdc": cdc}}
    mapping["_meta"]["cdc"]["schema"] = list(change.position)
    return mapping


def _additions(change: SchemaChange, schema: TableSchema, there: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields to add if that is all there is to do; None if documents have to change."""
    meta, now = there["_meta"]["cdc"], described(schema)
    before = meta.get("columns")
    if before is None or meta.get("key") != now["key"] or change.renamed:
        return None
    columns = now["columns"]
    new = columns.keys() - before.keys()
    if any(columns.get(name) != kind for name, kind in before.items()) or change.added.keys() & before.keys():
        return None
    names = {field_name(column.name): column for column in schema.columns}
    for name in new:
        added = change.added.get(names[name].name)
        if not names[name].nullable or (added is not None and added.value is not None):
            return None
    fields = properties_of(schema)
    return {name: fields[name] for name in new}


class _Carrier:
    """Turns a document of the old definition into one of the new."""

    def __init__(self, change: SchemaChange, meta: Mapping[str, Any]) -> None:
        self._change = change
        self._types: Mapping[str, str] = meta.get("columns", {})
        self._names = {field_name(c.name): c for c in change.schema.columns} if change.schema else {}
        self._olds = {field_name(new): field_name(old) for new, old in change.renamed.items()}
        self._added = {field_name(name): added.value for name, added in change.added.items()}
        self.version: int | None = None

    def __call__(self, hit: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
        """Return id, version and content of the document in the new index."""
        version = hit["_version"] if self.version is None else self.version
        schema = self._change.schema
        if schema is None:
            return hit["_id"], version, hit["_source"]
        before, source = hit["_source"], dict[str, Any]()
        for name, column in self._names.items():
            old = self._olds.get(name, name)
            if name in self._added:
                source[name] = default_of(column, self._added[name])
            elif old in before:
                source[name] = converted(before[old], self._type(old, column.type), column)
            elif not column.nullable:
                source[name] = nothing(column)
            if source.get(name) is None and not column.nullable:
                source[name] = nothing(column)
        return document_id(schema, source) if schema.key else hit["_id"], version, source

    def _type(self, name: str, otherwise: MysqlType) -> MysqlType:
        """Return the type that a field's column had; what it is now, if that was not kept."""
        kind, _, sizes = self._types.get(name, "").rstrip(")").partition("(")
        if kind not in MYSQL_TYPES:
            return otherwise
        length, _, scale = sizes.partition(",")
        return MysqlType(kind, int(length) if length else None, int(scale) if scale else None)
