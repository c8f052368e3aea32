"""An index under a mapping that can't be had by adding fields: copied to a new index, and the alias swapped.

Documents keep their ids, versions and content. The old index takes no writes meanwhile (other workers see
an outage and try again) and is removed by the same request that swaps the alias, so that a crash at any
point leaves either the old index, to be copied again, or the new one.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sinks.errors import FatalError
from sinks.targets.elasticsearch.client import NDJSON
from sinks.targets.elasticsearch.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sinks.targets.elasticsearch.client import Client

    Carry = Callable[[Mapping[str, Any]], tuple[str, int, dict[str, Any]]]

_DOING = "rebuilding an index"
_KEPT = ("number_of_shards", "number_of_replicas", "refresh_interval", "gc_deletes", "mapping")
_PAGE = 1000


def _as_it_is(hit: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    return hit["_id"], hit["_version"], hit["_source"]


def removed(client: Client, alias: str) -> None:
    """Remove what stands behind an alias."""
    for index in client.request("GET", f"/{_path(alias)}/_alias", doing=_DOING):
        client.request("DELETE", f"/{_path(index)}", doing=_DOING)


def rebuild(
    client: Client,
    alias: str,
    index: str,
    mapping: dict[str, Any],
    *,
    carry: Carry = _as_it_is,
    other_name: bool = False,
) -> str:
    """Copy an index to its successor under another mapping, and let the alias point there.

    Args:
        client: the connection to the cluster.
        alias: under which the copy is found.
        index: what is copied; it is removed in the same moment.
        mapping: the copy's.
        carry: gives id, version and content of a document in the copy.
        other_name: whether the alias is another one than the index's.

    Returns:
        The new index's name.
    """
    successor = f"{alias}-000001" if other_name else _successor(index)
    settings = client.request("GET", f"/{_path(index)}/_settings", doing=_DOING)[index]["settings"]["index"]
    client.request("PUT", f"/{_path(index)}/_block/write", doing=_DOING)
    # What an earlier try left behind.
    client.request("DELETE", f"/{_path(successor)}", doing=_DOING, params={"ignore_unavailable": "true"})
    kept = {name: settings[name] for name in _KEPT if name in settings}
    body = {"settings": {"index": kept}, "mappings": mapping}
    client.request("PUT", f"/{_path(successor)}", body, doing=_DOING)
    for hits in scan(client, index, source=True, page=_PAGE):
        _copy(client, successor, [carry(hit) for hit in hits])
    actions = [
        {"add": {"index": successor, "alias": alias, "is_write_index": True}},
        {"remove_index": {"index": index}},
    ]
    client.request("POST", "/_aliases", {"actions": actions}, doing=_DOING)
    return successor


def _copy(client: Client, index: str, documents: list[tuple[str, int, dict[str, Any]]]) -> None:
    lines: list[str] = []
    for document_id, version, source in documents:
        action = {"_id": document_id, "version": version, "version_type": "external_gte"}
        lines += [json.dumps({"index": action}), json.dumps(source, ensure_ascii=False), ""]
    body = "\n".join(line for line in lines if line).encode() + b"\n"
    params = {"filter_path": "errors,items.*.error.type"}
    answer = client.request(
        "POST", f"/{_path(index)}/_bulk", body, doing=_DOING, params=params, content=NDJSON
    )
    if answer["errors"]:
        kinds = sorted({outcome["error"]["type"] for item in answer["items"] for outcome in item.values()})
        raise FatalError(
            f"documents can't be copied to the new mapping: {', '.join(kinds)}",
            where=f"{client.url} {index}",
            hint="exclude or rename the changed column for this sink in cdc.toml",
        )


def _successor(index: str) -> str:
    match = re.fullmatch(r"(.+)-(\d{6})", index)
    if match is None:
        raise FatalError("the index behind an alias is not one of ours", where=index)
    return f"{match[1]}-{int(match[2]) + 1:06d}"


def _path(name: str) -> str:
    return quote(name, safe="")
