"""The index of each table: its name, and that it is there with all fields before a document is sent.

Every table has an alias, and a concrete index ``<alias>-000001`` behind it from the first day, so that a
rebuild is a swap. The alias is ``database.table`` in lower case. Two tables can ask for one alias (``A.b``
and ``a.b`` are two tables to a MySQL that is case-sensitive): the index's ``_meta`` names its source table,
and the one that comes second gets a hash of its exact name as a suffix. A name with characters that
Elasticsearch does not take, which are replaced by ``_`` (behind an ``x`` if it would be the first), has the
suffix always.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sinks.errors import FatalError
from sinks.targets.elasticsearch.client import ABSENT, EXISTS, ApiFailure
from sinks.targets.elasticsearch.mapping import (
    belongs_to,
    described,
    mapping_of,
    missing,
    outgrown,
    properties_of,
)
from sinks.targets.elasticsearch.rebuild import rebuild, removed

if TYPE_CHECKING:
    from sinks.table_schema import Column, TableId, TableSchema
    from sinks.targets.elasticsearch.client import Client
    from sinks.targets.elasticsearch.options import ElasticsearchOptions

_DOING = "preparing an index"
_ILLEGAL = re.compile(r'[\\/*?"<>|\s,#:]')
_NOT_FIRST = "-_+."
_NAME_BYTES = 255 - len("-000001")
# MySQL's widest table has 4096 columns, and a text column is two fields.
_FIELD_LIMIT = 10_000


def alias_candidates(table: TableId) -> tuple[str, ...]:
    """Return the aliases that a table may have, in the order in which they are tried."""
    plain = str(table).lower()
    legal = _ILLEGAL.sub("_", plain)
    if legal[0] in _NOT_FIRST:
        legal = f"x{legal}"
    digest = hashlib.sha256("\0".join(table).encode()).hexdigest()[:10]
    room = _NAME_BYTES - len(digest) - 1
    suffixed = f"{legal.encode()[:room].decode(errors='ignore')}-{digest}"
    if legal == plain and len(legal.encode()) <= _NAME_BYTES:
        return legal, suffixed
    return (suffixed,)


class Indices:
    """Makes indices and keeps their mappings up with their tables. Remembers what it has seen to be so."""

    def __init__(self, client: Client, options: ElasticsearchOptions) -> None:
        self.client = client
        self._options = options
        self._ready: dict[TableId, tuple[tuple[Column, ...], str]] = {}

    def forget(self) -> None:
        """Look at the cluster again before the next use of each index."""
        self._ready.clear()

    def find(self, table: TableId) -> str | None:
        """Return the alias of a table, or None if it has none yet."""
        for alias in alias_candidates(table):
            there = self._mapping(alias)
            if there is not None and belongs_to(there[1], table):
                return alias
        return None

    def index_of(self, table: TableId) -> tuple[str, str, dict[str, Any]] | None:
        """Return a table's alias, the index behind it and its mapping; None if it has none yet."""
        for alias in alias_candidates(table):
            there = self._mapping(alias)
            if there is not None and belongs_to(there[1], table):
                return alias, *there
        return None

    def free_alias(self, table: TableId) -> str:
        """Return the alias that a table gets; an index that is there for it is removed.

        Raises:
            FatalError: its names are taken by something else.
        """
        there = self.index_of(table)
        if there is not None:
            removed(self.client, there[0])
            return there[0]
        for alias in alias_candidates(table):
            if self._mapping(alias) is None:
                return alias
        raise _taken(self.client, table)

    def put_mapping(self, index: str, body: dict[str, Any]) -> None:
        """Add to an index's mapping."""
        self.client.request("PUT", f"/{_path(index)}/_mapping", body, doing=_DOING)

    def ensure(self, schema: TableSchema) -> str:
        """Return the alias of a table, its index there with a field for each column."""
        ready = self._ready.get(schema.table)
        if ready is not None and ready[0] == schema.columns:
            return ready[1]
        alias = self._claim_alias(schema)
        self._ready[schema.table] = (schema.columns, alias)
        return alias

    def _claim_alias(self, schema: TableSchema) -> str:
        for alias in alias_candidates(schema.table):
            there = self._mapping(alias)
            if there is None and self._create(alias, schema):
                return alias
            there = there or self._mapping(alias)
            if there is not None and belongs_to(there[1], schema.table):
                self._bring_up(alias, *there, schema)
                return alias
        raise _taken(self.client, schema.table)

    def _mapping(self, alias: str) -> tuple[str, dict[str, Any]] | None:
        """Return the concrete index behind an alias and its mapping; None if nothing has that name."""
        try:
            found = self.client.request("GET", f"/{_path(alias)}/_mapping", doing=_DOING, judged=ABSENT)
        except ApiFailure:
            return None
        # An alias that someone spread over several indices can't be written to: take the newest's word.
        index = max(found)
        return index, found[index]["mappings"]

    def _create(self, alias: str, schema: TableSchema) -> bool:
        """Create index, mapping and alias in one request; False if another was faster."""
        options = self._options
        settings = {
            "number_of_shards": options.shards,
            "number_of_replicas": options.replicas,
            "refresh_interval": options.refresh_interval,
            "gc_deletes": options.gc_deletes,
            "mapping.total_fields.limit": _FIELD_LIMIT,
        }
        body = {
            "settings": {"index": settings},
            "mappings": mapping_of(schema),
            "aliases": {alias: {"is_write_index": True}},
        }
        try:
            self.client.request("PUT", f"/{_path(f'{alias}-000001')}", body, doing=_DOING, judged=EXISTS)
        except ApiFailure as answer:
            if answer.kind in {"resource_already_exists_exception", "invalid_alias_name_exception"}:
                return False
            raise FatalError(
                f"Elasticsearch answered {answer.status} {answer.kind} while {_DOING}",
                where=f"{self.client.url} {alias}",
            ) from answer
        return True

    def _bring_up(self, alias: str, index: str, mapped: dict[str, Any], schema: TableSchema) -> None:
        there, meta = mapped.get("properties", {}), mapped["_meta"]["cdc"]
        wanted = properties_of(schema)
        grown = outgrown(there, wanted)
        if grown:
            mapping = mapping_of(schema) | {"properties": there | missing(there, wanted) | grown}
            mapping["_meta"] = {"cdc": meta | described(schema)}
            rebuild(self.client, alias, index, mapping)
            return
        fields = missing(there, wanted)
        if fields:
            body = {"properties": fields, "_meta": {"cdc": meta | described(schema)}}
            self.client.request("PUT", f"/{_path(index)}/_mapping", body, doing=_DOING)


def _taken(client: Client, table: TableId) -> FatalError:
    return FatalError(
        "the table's index names are taken by something else",
        where=f"{client.url} {', '.join(alias_candidates(table))}",
        hint="remove or rename those indices, or rename the table for this sink in cdc.toml",
    )


def _path(name: str) -> str:
    return quote(name, safe="")
