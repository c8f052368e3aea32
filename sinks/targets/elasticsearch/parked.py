"""Parked keys and what operators ask for them: documents of an index of their own.

A parked key's document is written with its partition's generation and lease as external version: who was
overtaken can't write it any more, for the next owner writes it anew when it claims the partition.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from sinks.errors import FencedError, OutageError
from sinks.table_schema import TableId
from sinks.targets.base import ParkedKey, Request
from sinks.targets.elasticsearch.client import ABSENT, CONFLICT, EXISTS, NDJSON, ApiFailure, failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sinks.targets.elasticsearch.client import Client
    from sinks.targets.elasticsearch.options import ElasticsearchOptions

_DOING_WRITE = "storing parked keys"
_DOING_READ = "reading parked keys"
_DOING_ASK = "recording requests"
_PAGE = 5000
_LEASE_BITS = 40
_MAPPING = {
    "dynamic": False,
    "properties": {
        "kind": {"type": "keyword"},
        "topic": {"type": "keyword"},
        "hash": {"type": "keyword"},
        "at_ms": {"type": "date", "format": "epoch_millis"},
    },
}

Kind = Literal["parked", "request"]


class ParkedStore:
    """The documents of one sink.

    Args:
        client: the connection to the cluster.
        sink: the sink's name; the index is ``cdc-parked-<sink>``.
        options: replicas of the index.
    """

    def __init__(self, client: Client, sink: str, options: ElasticsearchOptions) -> None:
        self.index = f"cdc-parked-{sink.lower()}"
        self._client = client
        self._options = options
        self._path = f"/{quote(self.index, safe='')}"
        self._where = f"{client.url} {self.index}"

    def create(self) -> None:
        """Have the index there."""
        settings = {
            "hidden": True,
            "number_of_shards": 1,
            "number_of_replicas": self._options.replicas,
            "gc_deletes": self._options.gc_deletes,
        }
        body = {"settings": {"index": settings}, "mappings": _MAPPING}
        try:
            self._client.request("PUT", self._path, body, doing=_DOING_WRITE, judged=EXISTS)
        except ApiFailure as answer:
            if answer.kind != "resource_already_exists_exception":
                raise failure(answer.status, answer.kind, doing=_DOING_WRITE, where=self._where) from answer

    def read(self) -> list[ParkedKey]:
        """Return the parked keys, in the order of their parking; none if there never was one."""
        return [_parked(document) for document in self._documents("parked")]

    def write(
        self, changed: Mapping[tuple[str, bytes], ParkedKey | None], leases: Mapping[str, tuple[int, int]]
    ) -> None:
        """Store keys that are parked now, and remove those that are not any more (None).

        Args:
            changed: by topic and key.
            leases: the greatest generation and lease that this worker holds, by topic.

        Raises:
            FencedError: another worker has claimed the partition.
        """
        lines: list[str] = []
        for (topic, key), held in changed.items():
            generation, lease = leases[topic]
            action = {
                "_id": _id("parked", topic, key),
                "version": generation << _LEASE_BITS | lease,
                "version_type": "external_gte",
            }
            if held is None:
                lines.append(json.dumps({"delete": action}))
            else:
                lines += [json.dumps({"index": action}), json.dumps(_parked_document(held))]
        for status, kind in self._bulk(lines, doing=_DOING_WRITE):
            if status == CONFLICT:
                raise FencedError("another worker has parked keys of the topic", where=self._where)
            if status not in ABSENT:
                raise failure(status, kind, doing=_DOING_WRITE, where=self._where)

    def ask(self, requests: Sequence[Request]) -> None:
        """Record requests; one for the same key is replaced."""
        if requests:
            self.create()
        lines: list[str] = []
        for number, request in enumerate(requests):
            action = {"index": {"_id": _id("request", request.topic, request.key)}}
            lines += [json.dumps(action), json.dumps(_request_document(request, number))]
        for status, kind in self._bulk(lines, doing=_DOING_ASK):
            raise failure(status, kind, doing=_DOING_ASK, where=self._where)

    def requests(self) -> list[Request]:
        """Return the requests that are not answered."""
        return [_request(document) for document in self._documents("request")]

    def answered(self, requests: Sequence[Request]) -> None:
        """Remove requests that are still as they were read."""
        asked = list(requests)
        if not asked:
            return
        lines: list[str] = []
        for hit in self._hits("request"):
            if _request(hit["_source"]) in asked:
                condition = {"if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}
                lines.append(json.dumps({"delete": {"_id": hit["_id"], **condition}}))
        for status, kind in self._bulk(lines, doing=_DOING_ASK):
            if status != CONFLICT and status not in ABSENT:
                raise failure(status, kind, doing=_DOING_ASK, where=self._where)

    def _bulk(self, lines: Sequence[str], *, doing: str) -> Iterator[tuple[int, str]]:
        """Send operations, and yield status and error of those that were not carried out."""
        if not lines:
            return
        body = ("\n".join(lines) + "\n").encode()
        params = {"filter_path": "items.*.status,items.*.error.type", "refresh": "true"}
        answer = self._client.request(
            "POST", f"{self._path}/_bulk", body, doing=doing, params=params, content=NDJSON
        )
        for item in answer.get("items", ()):
            (outcome,) = item.values()
            if "error" in outcome:
                yield outcome["status"], str(outcome["error"]["type"])

    def _documents(self, kind: Kind) -> Iterator[dict[str, Any]]:
        return (hit["_source"] for hit in self._hits(kind))

    def _hits(self, kind: Kind) -> Iterator[dict[str, Any]]:
        """Yield documents of a kind. Every write has refreshed the index: all of them are found."""
        after: dict[str, Any] = {}
        while True:
            search = {
                "size": _PAGE,
                "query": {"term": {"kind": kind}},
                "sort": ["at_ms", "topic", "hash"],
                "seq_no_primary_term": True,
            } | after
            try:
                answer = self._client.request(
                    "POST", f"{self._path}/_search", search, doing=_DOING_READ, judged=ABSENT
                )
            except ApiFailure:
                return
            if answer["_shards"]["failed"] or answer["timed_out"]:
                raise OutageError("a shard of the parked keys does not answer", where=self._where)
            hits: list[dict[str, Any]] = answer["hits"]["hits"]
            yield from hits
            if len(hits) < _PAGE:
                return
            after = {"search_after": hits[-1]["sort"]}


def leases_of(held: Iterable[tuple[str, int, int]]) -> dict[str, tuple[int, int]]:
    """Return the greatest generation and lease by topic."""
    leases: dict[str, tuple[int, int]] = {}
    for topic, generation, lease in held:
        leases[topic] = max(leases.get(topic, (0, 0)), (generation, lease))
    return leases


def _hash(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def _id(kind: Kind, topic: str, key: bytes) -> str:
    return f"{kind}:{topic}:{_hash(key)}"


def _base(kind: Kind, topic: str, key: bytes, partition: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "topic": topic,
        "hash": _hash(key),
        "key": base64.b64encode(key).decode(),
        "partition": partition,
    }


def _parked_document(held: ParkedKey) -> dict[str, Any]:
    return _base("parked", held.topic, held.key, held.partition) | {
        "table": list(held.table) if held.table else None,
        "first": held.first,
        "last": held.last,
        "letters": held.letters,
        "reason": held.reason,
        "at_ms": held.parked_ms,
    }


def _parked(document: Mapping[str, Any]) -> ParkedKey:
    return ParkedKey(
        document["topic"],
        base64.b64decode(document["key"]),
        TableId(*document["table"]) if document["table"] else None,
        document["partition"],
        document["first"],
        document["last"],
        document["letters"],
        document["reason"],
        document["at_ms"],
    )


def _request_document(request: Request, number: int) -> dict[str, Any]:
    return _base("request", request.topic, request.key, request.partition) | {
        "action": request.action,
        "edits": {str(version): dict(of) for version, of in request.edits.items()},
        "at_ms": number,
    }


def _request(document: Mapping[str, Any]) -> Request:
    edits = {int(version): of for version, of in document["edits"].items()}
    return Request(
        document["action"],
        document["topic"],
        base64.b64decode(document["key"]),
        document["partition"],
        edits,
    )
