"""How far each partition is, and who may write it: one document per partition in an index of its own.

A claim raises the document's lease. Every write of it names the sequence number that its holder saw last,
so that a holder who was overtaken can't store anything; and the lease is read again before each bulk
request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sinks.change import Progress, SchemaPosition, TopicPartition, Watermark
from sinks.errors import FatalError, FencedError, OutageError
from sinks.targets.base import Stored
from sinks.targets.elasticsearch.client import ABSENT, CONFLICT, EXISTS, NDJSON, ApiFailure, failure
from sinks.targets.generation import Known, generation_of, progress_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sinks.targets.base import Claim
    from sinks.targets.elasticsearch.client import Client
    from sinks.targets.elasticsearch.options import ElasticsearchOptions

_DOING_CLAIM = "claiming partitions"
_DOING_COMMIT = "storing progress"
_DOING_CHECK = "checking leases"
_DOING_READ = "reading the state index"
_PAGE = 1000
_CLAIM_ATTEMPTS = 20
_MAPPING = {
    "dynamic": False,
    "properties": {
        "topic": {"type": "keyword"},
        "partition": {"type": "integer"},
        "next_offset": {"type": "long"},
        "source_ms": {"type": "date", "format": "epoch_millis"},
        "committed_ms": {"type": "date", "format": "epoch_millis"},
    },
}


@dataclass(frozen=True, slots=True)
class _Seen:
    """A state document as it was read or written last."""

    stored: Stored
    topic_id: str
    partitions: int
    seq_no: int
    primary_term: int


class StateStore:
    """The state documents of one sink.

    Args:
        client: the connection to the cluster.
        sink: the sink's name; the index is ``cdc-state-<sink>``.
        options: replicas of the index.
        clock: milliseconds since the epoch.
    """

    def __init__(
        self, client: Client, sink: str, options: ElasticsearchOptions, *, clock: Callable[[], int]
    ) -> None:
        self.index = f"cdc-state-{sink.lower()}"
        self._client = client
        self._options = options
        self._clock = clock
        self._held: dict[TopicPartition, _Seen] = {}
        self._path = f"/{quote(self.index, safe='')}"

    def claim(self, claims: Sequence[Claim]) -> dict[TopicPartition, Stored]:
        """Raise the lease of partitions; when two claim at once, one after the other."""
        self._create_index()
        waiting = {claim.partition: claim for claim in claims}
        claimed: dict[TopicPartition, Stored] = {}
        for _ in range(_CLAIM_ATTEMPTS):
            if not waiting:
                return claimed
            there = self._read_all()
            known = [
                Known(partition, seen.topic_id, seen.partitions, seen.stored.generation)
                for partition, seen in there.items()
            ]
            wanted = {p: self._raised(claim, there.get(p), known) for p, claim in waiting.items()}
            for partition, seen in self._write(wanted, doing=_DOING_CLAIM).items():
                self._held[partition] = seen
                claimed[partition] = seen.stored
                del waiting[partition]
        raise OutageError("other workers claim the same partitions all the time", where=self._where)

    def release(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions."""
        for partition in partitions:
            self._held.pop(partition, None)

    def held(self, partition: TopicPartition) -> tuple[int, int]:
        """Return generation and number of partitions of a claimed partition's topic."""
        seen = self._holding(partition)
        return seen.stored.generation, seen.partitions

    def generation(self, partition: TopicPartition) -> int:
        """Return the generation of a partition's topic; 0 for one that is not claimed."""
        seen = self._held.get(partition)
        return 0 if seen is None else seen.stored.generation

    def check(self, partitions: Sequence[TopicPartition]) -> None:
        """Raise FencedError unless every partition's lease is still this worker's."""
        leases = [self._holding(partition).stored.lease for partition in partitions]
        answer = self._client.request(
            "POST",
            f"{self._path}/_mget",
            {"ids": [str(partition) for partition in partitions]},
            doing=_DOING_CHECK,
            params={"_source": "lease", "filter_path": "docs._source.lease,docs.error.type,docs._id"},
        )
        for partition, lease, document in zip(partitions, leases, answer["docs"], strict=True):
            if document.get("_source", {}).get("lease") != lease:
                raise self._fenced(partition)

    def commit(self, progress: Mapping[TopicPartition, Progress]) -> None:
        """Store how far partitions are; raise FencedError if one was claimed by another."""
        if not progress:
            return
        now = self._clock()
        wanted: dict[TopicPartition, _Seen] = {}
        for partition, reached in progress.items():
            seen = self._holding(partition)
            stored = Stored(reached, seen.stored.generation, seen.stored.lease, now)
            wanted[partition] = _Seen(stored, seen.topic_id, seen.partitions, seen.seq_no, seen.primary_term)
        written = self._write(wanted, doing=_DOING_COMMIT)
        self._held.update(written)
        for partition in wanted.keys() - written.keys():
            raise self._fenced(partition)

    def stored(self) -> dict[TopicPartition, Stored]:
        """Return what is stored of every partition; nothing if no worker ever ran."""
        return {partition: seen.stored for partition, seen in self._read_all().items()}

    @property
    def _where(self) -> str:
        return f"{self._client.url} {self.index}"

    def _holding(self, partition: TopicPartition) -> _Seen:
        seen = self._held.get(partition)
        if seen is None:
            raise FencedError("the partition is not claimed by this worker", where=str(partition))
        return seen

    def _fenced(self, partition: TopicPartition) -> FencedError:
        hint = "it goes on there; if there is only one worker, the state index was changed by hand"
        return FencedError("another worker has claimed the partition", where=str(partition), hint=hint)

    def _create_index(self) -> None:
        settings = {"hidden": True, "number_of_shards": 1, "number_of_replicas": self._options.replicas}
        body = {"settings": {"index": settings}, "mappings": _MAPPING}
        try:
            self._client.request("PUT", self._path, body, doing=_DOING_CLAIM, judged=EXISTS)
        except ApiFailure as answer:
            if answer.kind != "resource_already_exists_exception":
                raise failure(answer.status, answer.kind, doing=_DOING_CLAIM, where=self._where) from answer

    def _raised(self, claim: Claim, before: _Seen | None, known: Sequence[Known]) -> _Seen:
        generation = generation_of(claim, known)
        same = before is not None and before.topic_id == claim.topic_id
        progress = progress_of(before.stored.progress if before else Progress(0), same_topic=same)
        lease = before.stored.lease + 1 if before else 1
        stored = Stored(progress, generation, lease, self._clock())
        seq_no, primary_term = (before.seq_no, before.primary_term) if before else (-1, 0)
        return _Seen(stored, claim.topic_id, claim.partitions, seq_no, primary_term)

    def _write(self, wanted: Mapping[TopicPartition, _Seen], *, doing: str) -> dict[TopicPartition, _Seen]:
        """Write documents, each only if it is still as it was seen; return those that were written."""
        lines: list[str] = []
        for partition, seen in wanted.items():
            lines += [_action(partition, seen), json.dumps(_document(partition, seen))]
        body = ("\n".join(lines) + "\n").encode()
        params = {"filter_path": "items.*.status,items.*._seq_no,items.*._primary_term,items.*.error.type"}
        answer = self._client.request(
            "POST", f"{self._path}/_bulk", body, doing=doing, params=params, content=NDJSON
        )
        written: dict[TopicPartition, _Seen] = {}
        problem: tuple[int, str] | None = None
        for (partition, seen), item in zip(wanted.items(), answer["items"], strict=True):
            (outcome,) = item.values()
            if "error" not in outcome:
                written[partition] = _Seen(
                    seen.stored, seen.topic_id, seen.partitions, outcome["_seq_no"], outcome["_primary_term"]
                )
            elif outcome["status"] != CONFLICT:
                problem = outcome["status"], str(outcome["error"]["type"])
        if problem is not None:
            raise failure(*problem, doing=doing, where=self._where)
        return written

    def _read_all(self) -> dict[TopicPartition, _Seen]:
        try:
            self._client.request("POST", f"{self._path}/_refresh", doing=_DOING_READ, judged=ABSENT)
        except ApiFailure:
            return {}
        return dict(_parsed(hit) for hit in self._hits())

    def _hits(self) -> Iterator[dict[str, Any]]:
        after: dict[str, Any] = {}
        while True:
            search = {"size": _PAGE, "sort": ["topic", "partition"], "seq_no_primary_term": True} | after
            answer = self._client.request("POST", f"{self._path}/_search", search, doing=_DOING_READ)
            if answer["_shards"]["failed"] or answer["timed_out"]:
                raise OutageError("a shard of the state index does not answer", where=self._where)
            hits: list[dict[str, Any]] = answer["hits"]["hits"]
            yield from hits
            if len(hits) < _PAGE:
                return
            after = {"search_after": hits[-1]["sort"]}


def _action(partition: TopicPartition, seen: _Seen) -> str:
    document_id = {"_id": str(partition)}
    if seen.primary_term:
        condition = {"if_seq_no": seen.seq_no, "if_primary_term": seen.primary_term}
        return json.dumps({"index": document_id | condition})
    return json.dumps({"create": document_id})


def _document(partition: TopicPartition, seen: _Seen) -> dict[str, Any]:
    progress = seen.stored.progress
    return {
        "topic": partition.topic,
        "partition": partition.partition,
        "topic_id": seen.topic_id,
        "partitions": seen.partitions,
        "generation": seen.stored.generation,
        "lease": seen.stored.lease,
        "next_offset": progress.next_offset,
        "watermark": progress.watermark.as_json(),
        "gtid": progress.gtid,
        "source_ms": progress.source_ms,
        "counts": dict(progress.counts),
        "schema": list(progress.schema),
        "committed_ms": seen.stored.committed_ms,
    }


def _parsed(hit: dict[str, Any]) -> tuple[TopicPartition, _Seen]:
    document = hit["_source"]
    try:
        progress = Progress(
            next_offset=document["next_offset"],
            watermark=Watermark.from_json(document["watermark"]),
            gtid=document["gtid"],
            source_ms=document["source_ms"],
            counts=document["counts"],
            schema=SchemaPosition(*document.get("schema", ())),
        )
        stored = Stored(progress, document["generation"], document["lease"], document["committed_ms"])
        seen = _Seen(
            stored, document["topic_id"], document["partitions"], hit["_seq_no"], hit["_primary_term"]
        )
        return TopicPartition(document["topic"], document["partition"]), seen
    except KeyError as error:
        raise FatalError(f"a state document has no field {error}", where=str(hit["_id"])) from error
