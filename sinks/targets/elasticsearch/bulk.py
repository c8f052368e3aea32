"""Prepared operations, sent in bulk requests on a few connections; the status of every one is read."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from sinks.errors import OutageError
from sinks.targets.elasticsearch.client import CONFLICT, NDJSON, ApiFailure, Disposition, disposition, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sinks.targets.elasticsearch.client import Client
    from sinks.targets.elasticsearch.options import ElasticsearchOptions

# require_alias: an index that was removed is an error, not an index made anew from guesses.
_PARAMS = {
    "require_alias": "true",
    "filter_path": "errors,items.*.status,items.*.error.type,items.*.error.caused_by.type",
}
_DOING = "writing documents"
_TOO_LARGE = 413

Refusals = dict[int, str]


class Bulk:
    """Sends operations.

    Args:
        client: the connection to the cluster.
        options: sizes, attempts, pauses.
        sleep: waits between attempts.
    """

    def __init__(
        self, client: Client, options: ElasticsearchOptions, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._options = options
        self._sleep = sleep
        self._pool = ThreadPoolExecutor(options.connections, thread_name_prefix="elasticsearch")

    def send(self, lines: pl.Series, check: Callable[[], None]) -> Refusals:
        """Send operations, at most one per document; return when all are answered.

        Args:
            lines: one operation each, with its document, lines ended.
            check: called before each request; what it raises ends the sending.

        Returns:
            The operations that are refused for what they hold: their index in ``lines`` and the reason.
        """
        chunks = list(self._chunks(lines))
        if len(chunks) == 1:
            return self._send_chunk(lines, check)
        futures = [self._pool.submit(self._send_chunk, lines[a:b], check) for a, b in chunks]
        # Nothing may be in flight when this returns, errors included: the next change of a key comes after.
        wait(futures)
        return {
            start + index: reason
            for (start, _), future in zip(chunks, futures, strict=True)
            for index, reason in future.result().items()
        }

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _chunks(self, lines: pl.Series) -> Iterator[tuple[int, int]]:
        ends = lines.str.len_bytes().cast(pl.Int64).cum_sum()
        start, sent = 0, 0
        while start < len(lines):
            end = max(start + 1, int(ends.search_sorted(sent + self._options.chunk_bytes, side="right")))
            yield start, end
            start, sent = end, int(ends[end - 1])

    def _send_chunk(self, lines: pl.Series, check: Callable[[], None]) -> Refusals:
        refused: Refusals = {}
        waiting = list(range(len(lines)))
        for attempt in range(self._options.attempts):
            if attempt:
                self._sleep(self._options.retry_seconds * 2 ** (attempt - 1))
            check()
            try:
                items = self._request(lines if len(waiting) == len(lines) else lines.gather(waiting))
            except ApiFailure as answer:
                if len(lines) == 1:
                    return {0: f"Elasticsearch answered {answer.status}: the document is too large"}
                return self._send_halves(lines, check)
            again = []
            for index, item in zip(waiting, items, strict=True):
                verdict = _verdict(item)
                if verdict is Disposition.OUTAGE:
                    again.append(index)
                elif isinstance(verdict, str):
                    refused[index] = verdict
            if not again:
                return refused
            waiting = again
        raise OutageError(
            f"Elasticsearch turned {len(waiting)} operations away {self._options.attempts} times",
            where=self._client.url,
            hint="check the cluster's health, disk space and write blocks",
        )

    def _send_halves(self, lines: pl.Series, check: Callable[[], None]) -> Refusals:
        middle = len(lines) // 2
        first = self._send_chunk(lines[:middle], check)
        second = self._send_chunk(lines[middle:], check)
        return first | {middle + index: reason for index, reason in second.items()}

    def _request(self, lines: pl.Series) -> list[dict[str, Any]]:
        body = "".join(lines.to_list()).encode()
        answer = self._client.request(
            "POST",
            "/_bulk",
            body,
            doing=_DOING,
            params=_PARAMS,
            content=NDJSON,
            judged=frozenset({_TOO_LARGE}),
        )
        items: list[dict[str, Any]] = [outcome for item in answer["items"] for outcome in item.values()]
        return items


def _verdict(item: dict[str, Any]) -> Literal[Disposition.OUTAGE] | str | None:
    """Judge one operation: None if it is done, OUTAGE to send it again, or the reason why it is refused."""
    status: int = item["status"]
    error = item.get("error")
    # A conflict says that a newer version is there; a delete without a document has nothing to do.
    if status == CONFLICT or error is None:
        return None
    kind = str(error.get("type"))
    match disposition(status, kind):
        case Disposition.OUTAGE:
            return Disposition.OUTAGE
        case Disposition.REFUSED:
            cause = error.get("caused_by", {}).get("type")
            return f"Elasticsearch answered {status} {kind}" + (f" caused by {cause}" if cause else "")
        case Disposition.FATAL:
            raise failure(status, kind, doing=_DOING, where="_bulk")
