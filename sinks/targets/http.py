"""The HTTP target: each change is one request, in order per key, with an idempotency key."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never
from zlib import crc32

import httpx

from sinks.change import pack_version
from sinks.errors import FatalError, FencedError, OutageError, RejectedError
from sinks.mysql_types import Kind, rule_of
from sinks.targets.base import (
    Batch,
    Claim,
    Park,
    ParkedKey,
    Rejection,
    Request,
    RowChanges,
    SchemaChange,
    Stored,
    Truncate,
)
from sinks.targets.http_state import HttpState
from sinks.targets.isolate import follows
from sinks.targets.parking import Parking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sinks.change import TopicPartition
    from sinks.table_schema import TableId, TableSchema

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log each request

_LATER = frozenset({408, 425, 429})
_REFUSED = frozenset({400, 409, 410, 413, 414, 415, 422})
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class _Change:
    """One request to make; those of a key are made in order. Without a body: a value has no JSON form."""

    offset: int
    key: bytes
    id: str
    body: bytes | None


class HttpTarget:
    """Sends ``POST`` requests: effectively once, if the other side honours ``Idempotency-Key``.

    The key is the same whenever a change is sent again (after an error, a restart, a rewind), and greater
    numbers in ``version`` are later, so that a receiver can also drop what is older than what it has.
    Progress is stored after all requests of a batch were answered.

    Answers: 2xx done; 408, 425, 429, 5xx and no answer are an outage; 400, 409, 410, 413, 414, 415 and 422
    refuse the change for what it holds, and it is parked; anything else is for a person to mend.

    Args:
        name: the sink's name.
        url: where requests go.
        state: the SQLite file of positions and leases: workers of one sink must share it.
        connections: requests at a time.
        timeout_seconds: for one answer.
        token: sent as ``Authorization: Bearer``.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        state: str,
        connections: int = 4,
        timeout_seconds: float = 10.0,
        token: str = "",
    ) -> None:
        self.name = name
        self._url = url
        self._state = HttpState(state, name)
        self._lanes = connections
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.Client(headers=headers, timeout=timeout_seconds, limits=limits)
        self._pool = ThreadPoolExecutor(connections, thread_name_prefix=f"http-{name}")
        self._claimed: dict[TopicPartition, Stored] = {}
        self._answered: set[str] = set()
        self._parking = Parking()

    def claim(self, claims: Sequence[Claim]) -> dict[TopicPartition, Stored]:
        """See :class:`sinks.targets.base.Target`."""
        claimed = self._state.claim(claims)
        self._claimed |= claimed
        self._parking.claimed(claimed, self._state.parked())
        return claimed

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        for partition in partitions:
            self._claimed.pop(partition, None)
        self._parking.released(partitions)

    def apply(self, batch: Batch, park: Park) -> None:
        """See :class:`sinks.targets.base.Target`.

        1. Check the leases: a worker that was replaced sends nothing.
        2. Send segment by segment what does not wait behind a parked key; a truncate waits for all before it.
        3. Park what was refused, and what follows it in its key.
        4. Store the progress and the parked keys, if the leases still hold.
        """
        leases = {p: self._claimed[p].lease for p in batch.progress if p in self._claimed}
        for partition in batch.progress:
            if partition not in leases:
                raise FencedError("the partition is not claimed", where=str(partition))
        self._state.check(leases)
        sifter = self._parking.begin(batch, time.time_ns() // 1_000_000)
        for segment in batch.segments:
            match segment:
                case RowChanges():
                    sifter.park(self._send_all(sifter.sift(segment)), segment.generation)
                case Truncate():
                    sifter.truncate(segment)
                    self._send_truncate(segment)
                case SchemaChange():
                    sifter.follow(segment)  # nothing to send: each row names its columns
                case _:
                    assert_never(segment)
        if rejections := sifter.finish():
            park(rejections)
        self._state.commit(batch.progress, leases, sifter.changed)
        self._parking.committed(sifter)
        self._answered.clear()

    def parked(self) -> list[ParkedKey]:
        """See :class:`sinks.targets.base.Target`."""
        return self._state.parked()

    def ask(self, requests: Sequence[Request]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._state.ask(requests)

    def requests(self) -> list[Request]:
        """See :class:`sinks.targets.base.Target`."""
        return self._state.requests()

    def answered(self, requests: Sequence[Request]) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._state.answered(requests)

    def stored(self) -> dict[TopicPartition, Stored]:
        """See :class:`sinks.targets.base.Target`."""
        return self._state.stored()

    def ping(self) -> None:
        """See :class:`sinks.targets.base.Target`: any answer but a server error will do."""
        try:
            answer = self._http.head(self._url)
        except httpx.TransportError as error:
            raise self._out(type(error).__name__) from error
        if answer.status_code >= _SERVER_ERROR:
            raise self._out(f"status {answer.status_code}")

    def close(self) -> None:
        """See :class:`sinks.targets.base.Target`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.close()
        self._state.close()

    def _send_all(self, changes: RowChanges) -> list[Rejection]:
        """Send changes on as many connections as there are, those of a key on one; wait for all."""
        lanes: list[list[_Change]] = [[] for _ in range(self._lanes)]
        for change in self._changes(changes):
            lanes[crc32(change.key) % self._lanes].append(change)
        futures = [self._pool.submit(self._send_lane, changes, lane) for lane in lanes if lane]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, OutageError)), errors[0])
        rejections = [rejection for future in futures for rejection in future.result()]
        return sorted(rejections, key=lambda one: one.offset)

    def _send_lane(self, changes: RowChanges, lane: Sequence[_Change]) -> list[Rejection]:
        rejections: dict[int, Rejection] = {}
        refused: dict[bytes, int] = {}
        for change in lane:
            first = refused.get(change.key)
            if first is not None:
                if first != change.offset:
                    rejections[change.offset] = _rejection(changes, change, follows(first))
                continue
            if change.id in self._answered:
                continue
            try:
                self._send(change)
            except RejectedError as error:
                refused[change.key] = change.offset
                rejections[change.offset] = _rejection(changes, change, error.what)
            else:
                self._answered.add(change.id)
        return list(rejections.values())

    def _send_truncate(self, truncate: Truncate) -> None:
        told = {"op": "truncate"}
        generation = self._claimed[truncate.partition].generation
        change = self._change(truncate.partition, truncate.offset, generation, truncate.table, b"", told)
        if change.id in self._answered:
            return
        try:
            self._send(change)
        except RejectedError as error:
            hint = "a truncate can't be parked: let the receiver take it, or leave the table out"
            raise FatalError(
                f"the HTTP target refuses a truncate: {error.what}", where=change.id, hint=hint
            ) from error
        self._answered.add(change.id)

    def _send(self, change: _Change) -> None:
        if change.body is None:
            raise RejectedError("a value has no JSON form", where=change.id)
        try:
            answer = self._http.post(self._url, content=change.body, headers={"Idempotency-Key": change.id})
        except httpx.TransportError as error:
            raise self._out(type(error).__name__) from error
        status = answer.status_code
        if answer.is_success:
            return
        if status in _LATER or status >= _SERVER_ERROR:
            raise self._out(f"status {status}")
        if status in _REFUSED:
            raise RejectedError(f"refused with status {status}", where=change.id)
        hint = "check sinks.….url and token; this status is not one that a change can cause"
        raise FatalError(f"the HTTP target answers with status {status}", where=self._url, hint=hint)

    def _out(self, why: str) -> OutageError:
        return OutageError(f"the HTTP target does not take requests: {why}", where=self._url)

    def _changes(self, changes: RowChanges) -> Iterator[_Change]:
        schema, partition = changes.schema, changes.partition
        generation = self._claimed[partition].generation if changes.generation is None else changes.generation
        for row in changes.frame.iter_rows(named=True):
            op = "delete" if row["deleted"] else "upsert"
            said: dict[str, Any] | None
            try:
                values = _row(schema, row)
                said = {"op": op, "key": {name: values[name] for name in schema.key}, "row": values}
            except ValueError:
                said = None
            suffix = "/old" if not schema.key and row["deleted"] else ""  # its update is two requests
            yield self._change(
                partition, row["offset"], generation, schema.table, row["key"], said, suffix=suffix
            )

    def _change(  # noqa: PLR0917 (of one change)
        self,
        partition: TopicPartition,
        offset: int,
        generation: int,
        table: TableId,
        key: bytes,
        said: Mapping[str, Any] | None,
        *,
        suffix: str = "",
    ) -> _Change:
        version = pack_version(generation, offset)
        id_ = f"{self.name}/{partition.topic}/{partition.partition}/{version}{suffix}"
        if said is None:
            return _Change(offset, key, id_, None)
        told = {"id": id_, "table": str(table), "version": version, **said}
        return _Change(offset, key, id_, json.dumps(told, ensure_ascii=False).encode())


def _rejection(changes: RowChanges, change: _Change, reason: str) -> Rejection:
    return Rejection(changes.partition, change.offset, reason, change.key, changes.table)


def _row(schema: TableSchema, row: dict[str, Any]) -> dict[str, Any]:
    return {
        column.name: _value(rule_of(column.type).kind, row[field])
        for column, field in zip(schema.columns, schema.data_columns, strict=True)
    }


def _value(kind: Kind, value: Any) -> Any:  # noqa: ANN401 (JSON)
    """Return a frame's value as JSON has it.

    Raises:
        ValueError: there is no such form: text of a JSON column that is not JSON, a number that is none.
    """
    if value is None:
        return None
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case dt.datetime() | dt.date():
            return value.isoformat()
        case dict():
            return {name: _value(Kind.BINARY, inner) for name, inner in value.items()}
        case float() if not math.isfinite(value):
            raise ValueError("not a finite number")
        case str() if kind is Kind.JSON:
            return json.loads(value)
        case _:
            return value
