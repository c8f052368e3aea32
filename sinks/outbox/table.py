"""The outbox table, as the polling relay and the operator see it: one method per statement."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from sinks.errors import ConfigError, FatalError
from sinks.outbox.message import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinks.mysql.session import Session

SHARDS = 16
POSITION = "position"
_NAME = re.compile(r"([A-Za-z0-9_$]+)\.([A-Za-z0-9_$]+)")
_COLUMNS = ", ".join(Row._fields)
_CHUNK = 1000
_BATCH_OF_TRIM = 5000


class Failed(NamedTuple):
    """A row that waits for a person, or for its next try."""

    id: int
    message_id: str
    aggregate_type: str
    aggregate_id: str
    event_type: str
    status: str
    failures: int
    next_attempt_at: str
    last_error: str


class Holder(NamedTuple):
    """A transaction that writes to the table and has not ended: its thread, and the event that locked it."""

    thread: int
    event: int


class OutboxTable:
    """Statements on one outbox.

    Args:
        session: a connection of its own.
        name: ``database.table``; the relays' state is in ``database.table_relay``.
    """

    def __init__(self, session: Session, name: str) -> None:
        match = _NAME.fullmatch(name)
        if match is None:
            raise ConfigError("the outbox must be named as database.table", where="outbox.table")
        self.session = session
        self.name = name
        self._database, self._table = match.groups()
        self._of = f"`{self._database}`.`{self._table}`"
        self._state = f"`{self._database}`.`{self._table}_relay`"

    def make_state(self, names: Sequence[str]) -> None:
        """Make what the relays share: only what is not there, since another relay may hold what is."""
        rows = ", ".join(["(%s)"] * len(names))
        self.session.execute(f"INSERT IGNORE INTO {self._state} (name) VALUES {rows}", names)

    def known_state(self) -> set[str]:
        """Return the names of what the relays share: shards, or a position."""
        return {name for (name,) in self.session.query(f"SELECT name FROM {self._state}")}

    def due_shards(self) -> list[int]:
        """Return the shards in which something may be sent now. This is all that an idle relay asks."""
        rows = self.session.query(
            f"SELECT DISTINCT shard FROM {self._of} WHERE status = 'pending'"
            f" UNION SELECT shard FROM {self._of} WHERE status IN ('waiting', 'retry')"
            " AND (next_attempt_at IS NULL OR next_attempt_at <= NOW(6))"
        )
        return [shard for (shard,) in rows]

    def lock_shards(self, shards: Sequence[int]) -> list[int]:
        """Take those shards that no other relay holds, until the end of the transaction."""
        rows = self.session.query(
            f"SELECT name FROM {self._state} FORCE INDEX (PRIMARY)"
            f" WHERE name IN ({_marks(shards)}) FOR UPDATE SKIP LOCKED",
            [shard_name(shard) for shard in shards],
        )
        return sorted(int(name.removeprefix("shard-")) for (name,) in rows)

    def lock_position(self) -> tuple[int, str] | None:
        """Take the position; None when another relay holds it."""
        rows = self.session.query(
            f"SELECT last_id, COALESCE(gaps, '[]') FROM {self._state} FORCE INDEX (PRIMARY)"
            " WHERE name = %s FOR UPDATE SKIP LOCKED",
            [POSITION],
        )
        return (int(rows[0][0]), rows[0][1]) if rows else None

    def position(self) -> int | None:
        """Return the last processed id; None if this outbox is not relayed that way."""
        rows = self.session.query(f"SELECT last_id FROM {self._state} WHERE name = %s", [POSITION])
        return int(rows[0][0]) if rows else None

    def store_position(self, last_id: int, gaps: object) -> None:
        """Store how far the relay has come, and which ids below are still open."""
        self.session.execute(
            f"UPDATE {self._state} SET last_id = %s, gaps = %s WHERE name = %s",
            [last_id, json.dumps(gaps), POSITION],
        )

    def pending(self, shards: Sequence[int], limit: int) -> list[Row]:
        """Return fresh rows of these shards, each shard's oldest first; about ``limit`` in all."""
        each = max(1, limit // len(shards))
        parts = (
            f"(SELECT {_COLUMNS} FROM {self._of} FORCE INDEX (outbox_due)"
            " WHERE status = 'pending' AND shard = %s ORDER BY id LIMIT %s)"
            for _ in shards
        )
        arguments = [value for shard in shards for value in (shard, each)]
        return self._rows(" UNION ALL ".join(parts), arguments)

    def after(self, last_id: int, limit: int) -> list[Row]:
        """Return the rows that follow an id, in order."""
        return self._rows(
            f"SELECT {_COLUMNS} FROM {self._of} WHERE id > %s ORDER BY id LIMIT %s",
            [last_id, limit],
        )

    def within(self, ranges: Iterable[tuple[int, int]], limit: int) -> list[Row]:
        """Return the rows whose ids are in one of these ranges, in order."""
        found: list[Row] = []
        for first, last in ranges:
            if len(found) < limit:
                found += self._rows(
                    f"SELECT {_COLUMNS} FROM {self._of} WHERE id BETWEEN %s AND %s"
                    " AND status = 'pending' ORDER BY id LIMIT %s",
                    [first, last, limit - len(found)],
                )
        return found

    def ready(self, shards: Sequence[int], limit: int) -> list[Row]:
        """Return rows that failed or were held up, and may be sent now: nothing before them is in the way."""
        return self._rows(
            f"SELECT {_COLUMNS} FROM {self._of} AS o"
            f" WHERE status IN ('waiting', 'retry') AND shard IN ({_marks(shards)})"
            " AND (next_attempt_at IS NULL OR next_attempt_at <= NOW(6))"
            f" AND NOT EXISTS (SELECT 1 FROM {self._of} AS b WHERE b.status IN ('retry', 'failed')"
            " AND b.shard = o.shard AND b.aggregate_type = o.aggregate_type"
            " AND b.aggregate_id = o.aggregate_id AND b.id < o.id)"
            " ORDER BY id LIMIT %s",
            [*shards, limit],
        )

    def held(self, shards: Sequence[int]) -> set[tuple[str, str]]:
        """Return the aggregates of which some row has failed or is held up: what follows has to wait."""
        rows = self.session.query(
            f"SELECT DISTINCT aggregate_type, aggregate_id FROM {self._of}"
            f" WHERE status IN ('waiting', 'retry', 'failed') AND shard IN ({_marks(shards)})",
            shards,
        )
        return {(kind, name) for kind, name in rows}

    def mark_sent(self, ids: Sequence[int]) -> None:
        """Note that rows are on Kafka."""
        self._update("status = 'sent', processed_at = NOW(6), next_attempt_at = NULL", ids)

    def mark_waiting(self, ids: Sequence[int]) -> None:
        """Note that rows wait for an earlier one of their aggregate."""
        self._update("status = 'waiting'", ids)

    def mark_failed(self, id_: int, reason: str, *, delay_seconds: float | None) -> None:
        """Count a failure; the next try comes after the delay, or never (None) unless someone asks."""
        status = "failed" if delay_seconds is None else "retry"
        self.session.execute(
            f"UPDATE {self._of} SET status = %s, failures = failures + 1, last_error = %s,"
            " next_attempt_at = NOW(6) + INTERVAL %s MICROSECOND WHERE id = %s",
            [status, reason[:500], int((delay_seconds or 0) * 1_000_000), id_],
        )

    def holders(self) -> set[Holder]:
        """Return the transactions of others that have written to the table, or are about to, and are open.

        A transaction holds the table's metadata lock from before it is given its first id until after its
        commit is visible. So an id that is missing now is one of theirs, or nobody's.
        """
        rows = self.session.query(
            "SELECT OWNER_THREAD_ID, OWNER_EVENT_ID FROM performance_schema.metadata_locks"
            " WHERE OBJECT_TYPE = 'TABLE' AND OBJECT_SCHEMA = %s AND OBJECT_NAME = %s"
            " AND LOCK_STATUS = 'GRANTED' AND LOCK_TYPE NOT IN ('SHARED_READ', 'SHARED', 'SHARED_HIGH_PRIO')"
            " AND COALESCE(OWNER_THREAD_ID, 0) <> PS_CURRENT_THREAD_ID()",
            [self._database, self._table],
        )
        return {Holder(int(thread or 0), int(event or 0)) for thread, event in rows}

    def check_holders_are_known(self) -> None:
        """Make sure that :meth:`holders` sees everyone.

        Raises:
            FatalError: the server does not tell of metadata locks, or has lost some.
        """
        enabled = self.session.query(
            "SELECT ENABLED FROM performance_schema.setup_instruments"
            " WHERE NAME = 'wait/lock/metadata/sql/mdl' AND @@performance_schema"
        )
        lost = self.session.query("SHOW GLOBAL STATUS LIKE 'Performance_schema_metadata_lock_lost'")
        if [row[0] for row in enabled] != ["YES"] or any(int(row[1]) for row in lost):
            raise FatalError(
                "MySQL does not tell of all metadata locks: ids still open can't be told from unused ones",
                where=str(self.session.address),
                hint="enable performance_schema and its instrument wait/lock/metadata/sql/mdl,"
                ' or use outbox.mode = "status"',
            )

    def trim(
        self, after: int, keep_seconds: float, *, last_id: int | None, gaps: Sequence[int]
    ) -> int | None:
        """Delete rows that were sent long ago, of the next few thousand after an id.

        Args:
            after: where to look on from; 0 at first.
            keep_seconds: how long a sent row is kept.
            last_id: position of the mode "last-id"; None in the mode "status".
            gaps: ids below the position that may not have been sent yet, first ones of their ranges.

        Returns:
            Where to look on from, or None: nothing old enough is left.
        """
        rows = self.session.query(
            f"SELECT id, status, COALESCE(processed_at, created_at) < NOW(6) - INTERVAL %s SECOND"
            f" FROM {self._of} WHERE id > %s ORDER BY id LIMIT %s",
            [keep_seconds, after, _BATCH_OF_TRIM],
        )
        through = min([last_id or 0, *(gap - 1 for gap in gaps)])
        done = {"sent", "discarded"}
        old = [id_ for id_, status, is_old in rows if is_old and (status in done or
               (last_id is not None and status == "pending" and id_ <= through))]  # fmt: skip
        for part in _chunks(old):
            self.session.execute(f"DELETE FROM {self._of} WHERE id IN ({_marks(part)})", part)
        return int(rows[-1][0]) if old and len(rows) == _BATCH_OF_TRIM else None

    def counts(self) -> dict[str, int]:
        """Return how many rows there are by status; ``pending`` means not sent yet, in either mode."""
        last_id = self.position()
        of = [] if last_id is None else [last_id]
        only = "" if last_id is None else " WHERE status <> 'pending' OR id > %s"
        query = f"SELECT status, COUNT(*) FROM {self._of}{only} GROUP BY status"
        return {status: int(count) for status, count in self.session.query(query, of)}

    def oldest_seconds(self) -> float:
        """Return for how long the oldest row that is not sent has waited; 0 if none has."""
        rows = self.session.query(
            f"SELECT TIMESTAMPDIFF(MICROSECOND, MIN(created_at), NOW(6)) / 1000000 FROM {self._of}"
            " WHERE status IN ('pending', 'waiting', 'retry') AND id > %s",
            [self.position() or 0],
        )
        return float(rows[0][0] or 0) if rows else 0.0

    def troubled(self, limit: int = 100) -> list[Failed]:
        """Return rows that failed, the ones given up first."""
        rows = self.session.query(
            f"SELECT id, message_id, aggregate_type, aggregate_id, event_type, status, failures,"
            " COALESCE(DATE_FORMAT(next_attempt_at, '%%Y-%%m-%%dT%%H:%%i:%%sZ'), ''),"
            " COALESCE(last_error, '')"
            f" FROM {self._of} WHERE status IN ('failed', 'retry') ORDER BY status = 'retry', id LIMIT %s",
            [limit],
        )
        return [Failed(*row) for row in rows]

    def retry(self, ids: Sequence[int]) -> int:
        """Have rows tried again now, with a new count of failures; if none is named, all given up."""
        return self._release("status = 'retry', failures = 0, next_attempt_at = NOW(6)", ids)

    def discard(self, ids: Sequence[int]) -> int:
        """Never send these rows; what waits behind them goes on."""
        return self._release("status = 'discarded', processed_at = NOW(6)", ids) if ids else 0

    def _release(self, change: str, ids: Sequence[int]) -> int:
        named = f" AND id IN ({_marks(ids)})" if ids else " AND status = 'failed'"
        return self.session.execute(
            f"UPDATE {self._of} SET {change} WHERE status IN ('failed', 'retry'){named}",
            ids,
        )

    def _update(self, change: str, ids: Sequence[int]) -> None:
        for part in _chunks(ids):
            self.session.execute(f"UPDATE {self._of} SET {change} WHERE id IN ({_marks(part)})", part)

    def _rows(self, query: str, arguments: Sequence[object]) -> list[Row]:
        return [Row(*row) for row in self.session.query(query, arguments)]


def shard_name(shard: int) -> str:
    """Return the name of a shard's lock."""
    return f"shard-{shard:02d}"


def _marks(values: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(values))


def _chunks(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
