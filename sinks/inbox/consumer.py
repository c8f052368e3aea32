"""The loop of an idempotent consumer: a message takes effect once, in order per key, or is a dead letter."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sinks.errors import OutageError
from sinks.kafka.publisher import Message
from sinks.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinks.inbox.store import Inbox
    from sinks.kafka.subscriber import Record

log = logging.getLogger(__name__)

Handle = Callable[[Any, "Record"], object]
"""Called with the transaction's cursor and the message; its effects go through the cursor."""


class Connection(Protocol):
    """A DB-API connection, not in autocommit mode."""

    def cursor(self) -> Any:  # noqa: ANN401 (a driver's cursor)
        """Return a cursor."""
        ...

    def commit(self) -> None:
        """Commit."""
        ...

    def rollback(self) -> None:
        """Roll back."""
        ...

    def close(self) -> None:
        """Close."""
        ...


class Source(Protocol):
    """Where messages come from; see :class:`sinks.kafka.subscriber.Subscriber`."""

    def poll(self, limit: int, seconds: float) -> list[Record]:
        """Return what is there."""
        ...

    def commit(self, record: Record) -> None:
        """Note that everything up to this record is done."""
        ...


class Sender(Protocol):
    """Where dead letters go; see :class:`sinks.kafka.publisher.Publisher`."""

    def send(self, messages: Sequence[Message]) -> Mapping[int, str]:
        """Send; return position → why it was refused."""
        ...


@dataclass(frozen=True)
class ConsumerOptions:
    """How a consumer works.

    Attributes:
        dead_letters: topic that they go to; it must exist.
        attempts: tries of a message before it is a dead letter; an outage counts as none.
        backoff: between tries.
        batch: messages between two commits of offsets, at most.
        is_outage: whether an error means that a dependency is out; add your driver's own.
    """

    dead_letters: str
    attempts: int = 5
    backoff: Backoff = field(default_factory=Backoff)
    batch: int = 500
    is_outage: Callable[[Exception], bool] = lambda error: isinstance(
        error, OutageError | ConnectionError | TimeoutError
    )


class Consumer:
    """Processes messages one by one, each in a transaction with its id.

    A message that fails for good, and what follows of its key, goes to the dead-letter topic in order; other
    keys flow. The process may die at any point: what was committed is known by its id when it comes again.

    Args:
        source: messages.
        inbox: processed ids.
        connect: opens a connection to the database of the effects.
        handle: the effect.
        dead_letters: takes them.
        options: how to work.
        random: numbers in [0, 1).
    """

    def __init__(  # noqa: PLR0917 (what it works with, handed in)
        self,
        source: Source,
        inbox: Inbox,
        connect: Callable[[], Connection],
        handle: Handle,
        dead_letters: Sender,
        options: ConsumerOptions,
        *,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._source = source
        self._inbox = inbox
        self._connect = connect
        self._handle = handle
        self._dead_letters = dead_letters
        self._options = options
        self._random = random
        self._connection: Connection | None = None
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask :meth:`run` to return after the message in work; from any thread."""
        self._stopping.set()

    def run(self) -> None:
        """Consume until :meth:`stop`."""
        while not self._stopping.is_set():
            self.once()

    def once(self, seconds: float = 0.2) -> int:
        """Process what is there; return how many messages were seen to.

        1. For each message: id and effect in one transaction, or a dead letter.
        2. Commit the offsets: what was done and not committed comes again, and is known by its id.
        """
        last: dict[tuple[str, int], Record] = {}
        seen = 0
        for record in self._source.poll(self._options.batch, seconds):
            if not self._see_to(record):
                break
            last[record.topic, record.partition] = record
            seen += 1
        for record in last.values():
            self._source.commit(record)
        return seen

    def _see_to(self, record: Record) -> bool:
        """Bring one message to its end; False when the consumer is stopped meanwhile."""
        failures = tries = 0
        while not self._stopping.is_set():
            try:
                self._process(record)
            except Exception as error:  # noqa: BLE001 (a handler may raise anything: retried, then parked)
                self._forget_connection()
                tries += 1
                if self._options.is_outage(error):
                    log.warning("outage at %s: %s", record.position, error, extra={"action": "retry"})
                else:
                    failures += 1
                    log.warning(
                        "message %s fails: %s", record.id, type(error).__name__, extra={"action": "retry"}
                    )
                if failures >= self._options.attempts:
                    reason = f"{type(error).__name__} after {failures} tries"
                    try:
                        self._park(record, reason)
                    except Exception as again:  # noqa: BLE001 (parking is tried again with the message)
                        self._forget_connection()
                        log.warning("can't park %s: %s", record.id, again, extra={"action": "retry"})
                    else:
                        return True
                self.counts["retries"] += 1
                self._stopping.wait(self._options.backoff.delay(tries, self._random))
            else:
                return True
        return False

    def _process(self, record: Record) -> None:
        connection = self._open()
        with _closing(connection.cursor()) as cursor:
            if record.key is not None and self._inbox.is_parked(cursor, record.topic, record.key):
                connection.rollback()
                self._park(record, "follows a dead letter of its key")
                return
            new = self._inbox.first_time(cursor, record.id)
            if new:
                self._handle(cursor, record)
            connection.commit()
        self.counts["processed" if new else "duplicates"] += 1

    def _park(self, record: Record, reason: str) -> None:
        """Write the dead letter, then hold up its key and record the id: so none is lost."""
        connection = self._open()
        with _closing(connection.cursor()) as cursor:
            if not self._inbox.first_time(cursor, record.id):
                connection.rollback()
                self.counts["duplicates"] += 1
                return
            headers = tuple(record.headers.items())
            told = (("dlq_reason", reason.encode()), ("dlq_position", record.position.encode()))
            letter = Message(self._options.dead_letters, record.key, record.value, headers + told)
            if refused := self._dead_letters.send([letter]):
                connection.rollback()
                raise OutageError(f"the dead letter is refused: {refused[0]}", where=record.position)
            if record.key is not None:
                self._inbox.park(cursor, record.topic, record.key)
            connection.commit()
        self.counts["parked"] += 1
        log.error("message %s is parked: %s", record.id, reason, extra={"action": "parked"})

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _forget_connection(self) -> None:
        """Roll back by closing: whatever state the driver left it in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def close(self) -> None:
        """Give the connection back."""
        self._forget_connection()


class _closing:  # noqa: N801 (contextlib's, for a cursor of any driver)
    def __init__(self, cursor: Any) -> None:  # noqa: ANN401
        self._cursor = cursor

    def __enter__(self) -> Any:  # noqa: ANN401
        return self._cursor

    def __exit__(self, *_: object) -> None:
        self._cursor.close()
