"""Bulk requests against a scripted cluster: what is sent again, cut, refused, and what ends it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import polars as pl
import pytest

from sinks.errors import CdcError, FatalError, FencedError, OutageError
from sinks.targets.elasticsearch import ElasticsearchOptions
from sinks.targets.elasticsearch.bulk import Bulk
from sinks.targets.elasticsearch.client import ApiFailure, Disposition, disposition, failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from sinks.targets.elasticsearch.client import Client

Item = tuple[int, str | None]


class ScriptedCluster:
    """Answers each operation by what its document says and how often it came."""

    url = "scripted"

    def __init__(self, answer: Callable[[int, int], Item], *, largest: int = 10**9) -> None:
        self.answer = answer
        self.largest = largest
        self.seen: dict[int, int] = {}
        self.requests: list[list[int]] = []

    def request(self, _method: str, _path: str, body: bytes, **_: object) -> dict[str, Any]:
        if len(body) > self.largest:
            raise ApiFailure(413, "too large")
        numbers = [json.loads(line)["n"] for line in body.splitlines()[1::2]]
        self.requests.append(numbers)
        items = []
        for number in numbers:
            self.seen[number] = self.seen.get(number, 0) + 1
            status, kind = self.answer(number, self.seen[number])
            error = {"error": {"type": kind, "caused_by": {"type": "cause"}}} if kind else {}
            items.append({"index": {"status": status} | error})
        return {"errors": True, "items": items}


def send(
    cluster: ScriptedCluster, count: int, options: ElasticsearchOptions | None = None
) -> tuple[dict[int, str], list[float]]:
    slept: list[float] = []
    bulk = Bulk(cast("Client", cluster), options or ElasticsearchOptions(), sleep=slept.append)
    lines = pl.Series([f'{{"index":{{}}}}\n{{"n":{n}}}\n' for n in range(count)])
    try:
        return bulk.send(lines, lambda: None), slept
    finally:
        bulk.close()


def test_conflicts_and_missing_documents_are_done() -> None:
    answers: list[Item] = [(201, None), (409, "version_conflict_engine_exception"), (404, None)]
    cluster = ScriptedCluster(lambda number, _: answers[number])
    assert send(cluster, 3) == ({}, [])


def test_operations_turned_away_are_sent_again_alone() -> None:
    kinds = {1: (429, "es_rejected_execution_exception"), 2: (403, "cluster_block_exception")}
    cluster = ScriptedCluster(lambda n, time: kinds[n] if n in kinds and time < 3 else (200, None))
    assert send(cluster, 4, ElasticsearchOptions(retry_seconds=0.5)) == ({}, [0.5, 1.0])
    assert cluster.requests == [[0, 1, 2, 3], [1, 2], [1, 2]]


def test_operations_turned_away_for_good_are_an_outage() -> None:
    cluster = ScriptedCluster(lambda n, _: (503, "unavailable_shards_exception") if n == 1 else (200, None))
    with pytest.raises(OutageError, match="1 operations"):
        send(cluster, 3, ElasticsearchOptions(attempts=3))
    assert cluster.seen == {0: 1, 1: 3, 2: 1}


def test_refusals_are_told_by_index_over_all_chunks() -> None:
    cluster = ScriptedCluster(lambda n, _: (400, "document_parsing_exception") if n % 7 == 3 else (200, None))
    refused, _ = send(cluster, 30, ElasticsearchOptions(chunk_bytes=100))
    assert list(refused) == [3, 10, 17, 24]
    assert set(refused.values()) == {"Elasticsearch answered 400 document_parsing_exception caused by cause"}
    assert sorted(n for numbers in cluster.requests for n in numbers) == list(range(30))
    assert len(cluster.requests) > 3


def test_a_request_that_is_too_large_is_cut() -> None:
    cluster = ScriptedCluster(lambda _, __: (200, None), largest=60)
    assert send(cluster, 9) == ({}, [])
    assert sorted(n for numbers in cluster.requests for n in numbers) == list(range(9))


def test_a_document_that_is_too_large_is_refused() -> None:
    refused, _ = send(ScriptedCluster(lambda _, __: (200, None), largest=5), 2)
    assert list(refused) == [0, 1]


def test_what_is_unknown_is_fatal() -> None:
    with pytest.raises(FatalError):
        send(ScriptedCluster(lambda _, __: (500, "null_pointer_exception")), 2)


def test_a_lost_lease_ends_it_before_the_next_request() -> None:
    cluster = ScriptedCluster(lambda _, __: (429, "es_rejected_execution_exception"))
    bulk = Bulk(cast("Client", cluster), ElasticsearchOptions(), sleep=lambda _: None)
    leases = iter([True])

    def check() -> None:
        if not next(leases, False):
            raise FencedError("another worker")

    with pytest.raises(FencedError):
        bulk.send(pl.Series(['{"index":{}}\n{"n":0}\n']), check)
    assert cluster.requests == [[0]]


@pytest.mark.parametrize(
    ("status", "kind", "expected", "error"),
    [
        (429, "circuit_breaking_exception", Disposition.OUTAGE, OutageError),
        (503, "master_not_discovered_exception", Disposition.OUTAGE, OutageError),
        (403, "cluster_block_exception", Disposition.OUTAGE, OutageError),
        (403, "security_exception", Disposition.FATAL, FatalError),
        (401, "security_exception", Disposition.FATAL, FatalError),
        (400, "document_parsing_exception", Disposition.REFUSED, FatalError),
        (404, "index_not_found_exception", Disposition.FATAL, FatalError),
        (500, "whatever", Disposition.FATAL, FatalError),
    ],
)
def test_dispositions(status: int, kind: str, expected: Disposition, error: type[CdcError]) -> None:
    assert disposition(status, kind) is expected
    raised = failure(status, kind, doing="testing", where="here")
    assert type(raised) is error
