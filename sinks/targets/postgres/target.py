"""The PostgreSQL target: rows, watermark and next offset of a batch in one transaction."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

from sinks.errors import FatalError, FencedError, OutageError, RejectedError
from sinks.targets.base import RowChanges, SchemaChange, Truncate
from sinks.targets.parking import Parking
from sinks.targets.postgres import connection, migrations, parked, state
from sinks.targets.postgres.apply import Writer
from sinks.targets.postgres.options import PostgresOptions
from sinks.targets.postgres.sqlstate import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg2.extensions import connection as Connection  # noqa: N812 (the driver's name is lower case)
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

    from sinks.change import TopicPartition
    from sinks.targets.base import Batch, Claim, Park, ParkedKey, Request, Stored

_LOG = logging.getLogger(__name__)


class Step(Enum):
    """Points of :meth:`PostgresTarget.apply` between which a process may die."""

    BEGUN = "the transaction is open"
    WRITTEN = "the rows are written"
    PARKED = "what was refused is parked"
    STORED = "progress is written and the fence was ours"
    COMMITTED = "all is durable"


class PostgresTarget:
    """A replica in PostgreSQL, exactly once; implements :class:`sinks.targets.base.Target`.

    Args:
        name: of the sink: its state is kept under it.
        dsn: of the replica's database; a direct connection, for temporary tables and session settings.
        state_schema: where the bookkeeping is kept.
        options: limits and thresholds.
        reached: called at each step of a batch; tests die or freeze there.
        clock: monotonic seconds.
        sleep: waits between two looks at an earlier owner.
    """

    def __init__(
        self,
        name: str,
        dsn: str,
        *,
        state_schema: str = "cdc",
        options: PostgresOptions | None = None,
        reached: Callable[[Step], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._dsn = dsn
        self._state_schema = state_schema
        self._options = options or PostgresOptions()
        self._reached = reached
        self._clock = clock
        self._sleep = sleep
        self._where = connection.server_of(dsn)
        self._session: Connection | None = None
        self._migrated = False
        self._writer = Writer(name, state_schema, self._options)
        self._leases: dict[TopicPartition, int] = {}
        self._lost: set[TopicPartition] = set()
        self._parking = Parking()

    def claim(self, claims: Sequence[Claim]) -> dict[TopicPartition, Stored]:
        """Take ownership; an earlier owner that hangs in a transaction is terminated first."""
        partitions = [claimed.partition for claimed in claims]
        with self._guarded() as cursor:
            if not self._migrated:
                self._migrate(cursor)
            if not claims:
                return {}
            with translated(where=self._where):
                state.evict(
                    cursor,
                    self.name,
                    partitions,
                    grace_s=self._options.takeover_grace_s,
                    clock=self._clock,
                    sleep=self._sleep,
                )
                cursor.execute("BEGIN")
                stored = state.claim(cursor, self.name, claims)
                keys = parked.read(cursor, self.name, {partition.topic for partition in stored})
                self._commit(cursor)
        self._parking.claimed(stored, keys)
        self._leases.update({partition: held.lease for partition, held in stored.items()})
        self._lost.difference_update(stored)
        return stored

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions. The lease stays as it is: the next owner raises it."""
        for partition in partitions:
            self._leases.pop(partition, None)
            self._lost.discard(partition)
        self._parking.released(partitions)

    def apply(self, batch: Batch, park: Park) -> None:
        """Apply a batch in one transaction; once more, cutting out what is refused, if anything is."""
        self._require_claimed(batch)
        try:
            self._apply(batch, park, isolating=False)
        except RejectedError as refusal:
            _LOG.info(
                "a batch is applied piece by piece: something in it was refused",
                extra={"action": "isolating", "sink": self.name, "table": refusal.where},
            )
            self._apply(batch, park, isolating=True)

    def _apply(self, batch: Batch, park: Park, *, isolating: bool) -> None:
        """Apply a batch in one transaction.

        1. Begin.
        2. Write the segments in order, but what waits behind a parked change; collect what is refused, or
           give up at the first refusal.
        3. Park what was refused. A crash from here on parks it again, under the same id.
        4. Store which keys are parked now, then the progress; the latter's statement proves that the leases
           are still ours.
        5. Commit. A crash before it leaves nothing, one after it everything.
        """
        with self._guarded() as cursor:
            with translated(where=self._where):  # 1
                cursor.execute("BEGIN")
            self._reached(Step.BEGUN)
            sifter = self._parking.begin(batch, time.time_ns() // 1_000_000)
            for received in batch.segments:  # 2
                if isinstance(received, Truncate):
                    sifter.truncate(received)
                elif isinstance(received, SchemaChange):
                    sifter.follow(received)
                segment = sifter.sift(received) if isinstance(received, RowChanges) else received
                if isolating:
                    generation = segment.generation if isinstance(segment, RowChanges) else None
                    sifter.park(self._writer.write_isolating(cursor, segment), generation)
                else:
                    self._writer.write(cursor, segment)
            rejections = sifter.finish()
            self._reached(Step.WRITTEN)
            if rejections:  # 3
                park(rejections)
            self._reached(Step.PARKED)
            with translated(where=self._where):
                parked.write(cursor, self.name, sifter.changed)
                state.advance(cursor, self.name, batch.progress, self._leases)  # 4
                self._reached(Step.STORED)
                self._commit(cursor)  # 5
            self._parking.committed(sifter)
        self._reached(Step.COMMITTED)

    def stored(self) -> dict[TopicPartition, Stored]:
        """Read every partition of this sink; none if the schema is not there yet."""
        with self._guarded() as cursor, translated(where=self._where):
            return state.read_all(cursor, self.name)

    def parked(self) -> list[ParkedKey]:
        """Read the parked keys of this sink; none if the schema is not there yet."""
        with self._guarded() as cursor, translated(where=self._where):
            return parked.read(cursor, self.name)

    def ask(self, requests: Sequence[Request]) -> None:
        """Record requests, one per key."""
        with self._guarded() as cursor, translated(where=self._where):
            parked.ask(cursor, self.name, requests)

    def requests(self) -> list[Request]:
        """Read what is asked for and not answered."""
        with self._guarded() as cursor, translated(where=self._where):
            return parked.requests(cursor, self.name)

    def answered(self, requests: Sequence[Request]) -> None:
        """Remove requests as they were read."""
        with self._guarded() as cursor, translated(where=self._where):
            parked.answered(cursor, self.name, requests)

    def ping(self) -> None:
        """Ask the server for an answer, over a new connection if the last one is gone."""
        with self._guarded() as cursor, translated(where=self._where):
            cursor.execute("SELECT 1")

    def close(self) -> None:
        """Close the session; the server rolls back what is open."""
        if self._session is not None:
            self._session.close()
        self._session = None
        self._writer.forget()
        self._lost.update(self._leases)
        self._leases.clear()

    def _require_claimed(self, batch: Batch) -> None:
        for partition in batch.progress:
            if partition in self._lost:
                raise OutageError("the session of the claim is lost: claim again", where=str(partition))
            if partition not in self._leases:
                raise FencedError("the partition is not claimed, or was released", where=str(partition))

    def _migrate(self, cursor: Cursor) -> None:
        files = migrations.load(migrations.directory())
        migrations.migrate(cursor, files, state_schema=self._state_schema, where=self._where)
        self._migrated = True

    def _commit(self, cursor: Cursor) -> None:
        cursor.execute("COMMIT")
        if cursor.statusmessage != "COMMIT":
            raise FatalError("the transaction was rolled back at its commit", where=self._where)

    @contextmanager
    def _guarded(self) -> Iterator[Cursor]:
        """Give a cursor; after any error nothing of it remains: rolled back, caches forgotten."""
        if self._session is None or self._session.closed:
            self.close()
            self._session = connection.connect(
                self._dsn,
                application_name=f"cdc-sink {self.name}",
                state_schema=self._state_schema,
                options=self._options,
            )
        try:
            with self._session.cursor() as cursor:
                yield cursor
        except OutageError:
            # A setting that is to blame (default_transaction_read_only) stays with the session: drop it.
            self._undo(self._session)
            self.close()
            raise
        except BaseException:
            self._undo(self._session)
            raise

    def _undo(self, session: Connection) -> None:
        """Roll back; where even that fails, drop the session and with it the claims made in it.

        After a lost session nobody knows whether its last commit took place: positions must be read anew.
        """
        self._writer.forget()
        try:
            with translated(where=self._where), session.cursor() as cursor:
                cursor.execute("ROLLBACK")
                cursor.execute("DISCARD TEMPORARY")
        except (OutageError, FatalError):
            self.close()
