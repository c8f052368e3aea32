"""Every document of an index at one point in time, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinks.targets.elasticsearch.client import Client

_KEEP_ALIVE = "5m"


def scan(client: Client, index: str, *, source: bool, page: int = 5000) -> Iterator[list[dict[str, Any]]]:
    """Yield all documents that were written before this call, with ``_id``, ``_version`` and ``_source``.

    Args:
        client: the connection to the cluster.
        index: an index or an alias.
        source: whether to fetch the documents themselves.
        page: documents per page.
    """
    doing = "scanning an index"
    path = f"/{quote(index, safe='')}"
    client.request("POST", f"{path}/_refresh", doing=doing)
    opened = client.request("POST", f"{path}/_pit", doing=doing, params={"keep_alive": _KEEP_ALIVE})
    pit = opened["id"]
    try:
        after: dict[str, Any] = {}
        while True:
            search = {
                "pit": {"id": pit, "keep_alive": _KEEP_ALIVE},
                "size": page,
                "sort": ["_shard_doc"],
                "version": True,
                "_source": source,
                "track_total_hits": False,
            } | after
            answer = client.request("POST", "/_search", search, doing=doing)
            pit = answer["pit_id"]
            hits: list[dict[str, Any]] = answer["hits"]["hits"]
            if hits:
                yield hits
            if len(hits) < page:
                return
            after = {"search_after": hits[-1]["sort"]}
    finally:
        client.request("DELETE", "/_pit", {"id": pit}, doing=doing)
