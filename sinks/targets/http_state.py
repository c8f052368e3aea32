"""Where an HTTP sink keeps its place: one SQLite file, since the other side keeps none for us."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from sinks.change import Progress, SchemaPosition, TopicPartition, Watermark
from sinks.errors import FatalError, FencedError, OutageError
from sinks.table_schema import TableId
from sinks.targets.base import Claim, ParkedKey, Request, Stored
from sinks.targets.generation import Known, generation_of, progress_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_BUSY_SECONDS = 10.0
_PARKED = (
    "CREATE TABLE IF NOT EXISTS parked (sink TEXT NOT NULL, topic TEXT NOT NULL, key BLOB NOT NULL,"
    " held TEXT NOT NULL, PRIMARY KEY (sink, topic, key))"
)
_REQUESTS = (
    "CREATE TABLE IF NOT EXISTS requests (sink TEXT NOT NULL, topic TEXT NOT NULL, key BLOB NOT NULL,"
    " asked TEXT NOT NULL, PRIMARY KEY (sink, topic, key))"
)
_TABLE = (
    "CREATE TABLE IF NOT EXISTS partitions (sink TEXT NOT NULL, topic TEXT NOT NULL,"
    " partition INTEGER NOT NULL, topic_id TEXT NOT NULL, width INTEGER NOT NULL,"
    " generation INTEGER NOT NULL, lease INTEGER NOT NULL, progress TEXT NOT NULL,"
    " committed_ms INTEGER NOT NULL, PRIMARY KEY (sink, topic, partition))"
)


class HttpState:
    """Progress, generation and lease per partition; workers that share the file fence each other.

    Args:
        path: the file; made if it is not there.
        sink: the sink's name.
        clock: milliseconds since the epoch.
    """

    def __init__(
        self, path: str, sink: str, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._path = path
        self._sink = sink
        self._clock = clock
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def claim(self, claims: Sequence[Claim]) -> dict[TopicPartition, Stored]:
        """Raise the lease of each partition, and return where to go on."""
        claimed: dict[TopicPartition, Stored] = {}
        with self._transaction() as database:
            for claim in claims:
                stored, known = self._read(database)
                partition = claim.partition
                generation = generation_of(claim, known.values())
                before, of = stored.get(partition), known.get(partition)
                same = of is not None and of.topic_id == claim.topic_id
                progress = progress_of(before.progress if before else Progress(0), same_topic=same)
                lease = before.lease + 1 if before else 1
                now = self._clock()
                claimed[partition] = Stored(progress, generation, lease, now)
                row = (self._sink, *partition, claim.topic_id, claim.partitions, generation, lease)
                database.execute(
                    "INSERT OR REPLACE INTO partitions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, _as_text(progress), now),
                )
        return claimed

    def check(self, leases: Mapping[TopicPartition, int]) -> None:
        """Make sure that these leases still hold.

        Raises:
            FencedError: another worker has claimed one of the partitions.
        """
        held = self.stored()
        for partition, lease in leases.items():
            if partition not in held or held[partition].lease != lease:
                raise FencedError("another worker has claimed the partition", where=str(partition))

    def commit(
        self,
        progress: Mapping[TopicPartition, Progress],
        leases: Mapping[TopicPartition, int],
        parked: Mapping[tuple[str, bytes], ParkedKey | None],
    ) -> None:
        """Store progress and changed parked keys (None: released) where the leases still hold.

        Raises:
            FencedError: another worker has claimed one of the partitions.
        """
        with self._transaction() as database:
            for partition, one in progress.items():
                changed = database.execute(
                    "UPDATE partitions SET progress = ?, committed_ms = ?"
                    " WHERE sink = ? AND topic = ? AND partition = ? AND lease = ?",
                    (_as_text(one), self._clock(), self._sink, *partition, leases.get(partition, 0)),
                ).rowcount
                if not changed:
                    raise FencedError("another worker has claimed the partition", where=str(partition))
            for at, held in parked.items():
                database.execute(
                    "DELETE FROM parked WHERE sink = ? AND topic = ? AND key = ?", (self._sink, *at)
                )
                if held is not None:
                    row = (self._sink, *at, _parked_text(held))
                    database.execute("INSERT INTO parked VALUES (?, ?, ?, ?)", row)

    def parked(self) -> list[ParkedKey]:
        """Return the parked keys of this sink, in the order of their parking."""
        with self._transaction() as database:
            query = "SELECT topic, key, held FROM parked WHERE sink = ?"
            rows = database.execute(query, (self._sink,)).fetchall()
        found = [_parked(topic, key, text) for topic, key, text in rows]
        return sorted(found, key=lambda held: (held.parked_ms, held.topic, held.first))

    def ask(self, requests: Iterable[Request]) -> None:
        """Record requests; the last of a key counts."""
        with self._transaction() as database:
            for one in requests:
                row = (self._sink, one.topic, one.key, _request_text(one))
                database.execute("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?)", row)

    def requests(self) -> list[Request]:
        """Return the requests that are not answered yet."""
        with self._transaction() as database:
            query = "SELECT topic, key, asked FROM requests WHERE sink = ? ORDER BY rowid"
            rows = database.execute(query, (self._sink,)).fetchall()
        return [_request(topic, key, text) for topic, key, text in rows]

    def answered(self, requests: Iterable[Request]) -> None:
        """Remove requests, unless they were replaced since."""
        with self._transaction() as database:
            for one in requests:
                database.execute(
                    "DELETE FROM requests WHERE sink = ? AND topic = ? AND key = ? AND asked = ?",
                    (self._sink, one.topic, one.key, _request_text(one)),
                )

    def stored(self) -> dict[TopicPartition, Stored]:
        """Return what is stored of every partition of this sink."""
        with self._transaction() as database:
            return self._read(database)[0]

    def close(self) -> None:
        """Close the file. May be called twice."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _read(
        self, database: sqlite3.Connection
    ) -> tuple[dict[TopicPartition, Stored], dict[TopicPartition, Known]]:
        stored: dict[TopicPartition, Stored] = {}
        known: dict[TopicPartition, Known] = {}
        rows = database.execute(
            "SELECT topic, partition, topic_id, width, generation, lease, progress, committed_ms"
            " FROM partitions WHERE sink = ?",
            (self._sink,),
        )
        for topic, number, topic_id, width, generation, lease, text, committed_ms in rows:
            partition = TopicPartition(topic, number)
            stored[partition] = Stored(_from_text(text), generation, lease, committed_ms)
            known[partition] = Known(partition, topic_id, width, generation)
        return stored, known

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                database = self._open()
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database
                    database.execute("COMMIT")
                except BaseException:
                    if database.in_transaction:
                        database.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                busy = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                kind = OutageError if error.sqlite_errorcode in busy else FatalError
                name = error.sqlite_errorname
                raise kind(f"the state file can't be used ({name})", where=self._path) from error

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            for statement in (_TABLE, _PARKED, _REQUESTS):
                self._database.execute(statement)
        return self._database


def _parked_text(held: ParkedKey) -> str:
    told = asdict(held)
    return json.dumps({name: value for name, value in told.items() if name not in {"topic", "key"}})


def _parked(topic: str, key: bytes, text: str) -> ParkedKey:
    found = json.loads(text)
    table = None if found["table"] is None else TableId(*found["table"])
    return ParkedKey(**{**found, "topic": topic, "key": key, "table": table})


def _request_text(request: Request) -> str:
    edits = {str(version): dict(values) for version, values in request.edits.items()}
    return json.dumps({"action": request.action, "partition": request.partition, "edits": edits})


def _request(topic: str, key: bytes, text: str) -> Request:
    found = json.loads(text)
    edits = {int(version): values for version, values in found["edits"].items()}
    return Request(found["action"], topic, key, found["partition"], edits)


def _as_text(progress: Progress) -> str:
    return json.dumps(
        {
            "next_offset": progress.next_offset,
            "watermark": progress.watermark.as_json(),
            "gtid": progress.gtid,
            "source_ms": progress.source_ms,
            "counts": dict(progress.counts),
            "schema": list(progress.schema),
        }
    )


def _from_text(text: str) -> Progress:
    found = json.loads(text)
    schema = SchemaPosition(*found.get("schema", ()))
    return Progress(**{**found, "watermark": Watermark.from_json(found["watermark"]), "schema": schema})
