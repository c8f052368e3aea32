"""Publish only after the commit: nothing that was rolled back is told, and no failure goes unseen."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from sinks.errors import FatalError, OutageError
from sinks.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sinks.kafka.publisher import Message
    from sinks.messaging.failure_log import FailureLog

log = logging.getLogger(__name__)


class Policy(StrEnum):
    """What becomes of a message that Kafka does not take."""

    IGNORE = "ignore"
    """It is counted and logged, and lost."""
    RETRY = "retry"
    """It is tried again with backoff; then the caller gets the error, after its commit."""
    LOG = "log"
    """It is kept in the failure log at once, and sent by a later replay."""
    RETRY_THEN_LOG = "retry-then-log"
    """The default: tried again with backoff, then kept."""


class Sender(Protocol):
    """Where messages go; see :class:`sinks.kafka.publisher.Publisher`."""

    def send(self, messages: Sequence[Message]) -> Mapping[int, str]:
        """Send in order; return position → why it was refused."""
        ...


class Connection(Protocol):
    """A DB-API connection, not in autocommit mode."""

    def commit(self) -> None:
        """Commit."""
        ...

    def rollback(self) -> None:
        """Roll back."""
        ...


class AfterCommit:
    """Sends messages once the transaction that they tell of has been committed.

    Between the commit and the send the process may die, and then the message is lost: that is what the outbox
    is for. While the failure log holds messages, new ones go behind them, so that order is kept.

    Args:
        sender: where messages go.
        failure_log: keeps what could not be sent; needed by the policies that keep.
        policy: what becomes of a message that Kafka does not take.
        attempts: tries, of the policies that retry.
        backoff: between tries.
        sleep: waits some seconds.
        random: numbers in [0, 1).
    """

    def __init__(
        self,
        sender: Sender,
        failure_log: FailureLog | None = None,
        *,
        policy: Policy = Policy.RETRY_THEN_LOG,
        attempts: int = 3,
        backoff: Backoff | None = None,
        sleep: Callable[[float], object] = time.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        if failure_log is None and policy in {Policy.LOG, Policy.RETRY_THEN_LOG}:
            raise ValueError(f"policy {policy} needs a failure log")
        self.counts: Counter[str] = Counter()
        self._sender = sender
        self._log = failure_log
        self._policy = policy
        self._attempts = attempts if policy in {Policy.RETRY, Policy.RETRY_THEN_LOG} else 1
        self._backoff = backoff or Backoff(first=0.1, ceiling=2.0)
        self._sleep = sleep
        self._random = random

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[list[Message]]:
        """Commit at the end of the block, then send what was put into the list; roll back when it raises.

        Example::

            with publisher.transaction(connection) as messages:
                connection.cursor().execute("INSERT …")
                messages.append(Message("events.customer", b"42", b"{}", (("id", new_id),)))
        """
        messages: list[Message] = []
        try:
            yield messages
        except BaseException:
            connection.rollback()
            raise
        self.publish_after_commit(connection, messages)

    def publish_after_commit(self, connection: Connection, messages: Sequence[Message]) -> None:
        """Commit, and then send: when the commit fails, nothing is sent.

        Raises:
            OutageError: the policy is ``retry`` and all tries failed; the transaction is committed.
            FatalError: the policy is ``retry`` and Kafka refuses a message for what it is.
        """
        connection.commit()
        if messages:
            self._send(messages)

    def replay(self) -> int:
        """Send what the failure log holds, oldest first: at each start, and now and then.

        Returns how many were sent; stops at the first that Kafka does not take.
        """
        sent = 0
        while self._log is not None and (kept := self._log.oldest()):
            try:
                refused = self._sender.send([message for _, message in kept])
            except (OutageError, FatalError) as error:
                log.warning("replay stops: %s", error, extra={"action": "retry"})
                return sent
            done = [id_ for position, (id_, _) in enumerate(kept) if position not in refused]
            self._log.remove(done)
            self.counts["replayed"] += len(done)
            sent += len(done)
            if refused:
                reason = next(iter(refused.values()))
                log.error(
                    "%d kept messages are refused: %s", len(refused), reason, extra={"action": "refused"}
                )
                return sent
        return sent

    def _send(self, messages: Sequence[Message]) -> None:
        if self._log is not None and self._policy is not Policy.IGNORE and len(self._log):
            self.replay()
            if len(self._log):
                self._keep(messages, "behind earlier ones")
                return
        for attempt in range(1, self._attempts + 1):
            try:
                refused = self._sender.send(messages)
            except (OutageError, FatalError) as error:
                if isinstance(error, OutageError) and attempt < self._attempts:
                    self.counts["retries"] += 1
                    self._sleep(self._backoff.delay(attempt, self._random))
                    continue
                self._failed(messages, error)
                return
            self.counts["sent"] += len(messages) - len(refused)
            if refused:
                reason = next(why for why in refused.values() if why)
                self._failed([messages[p] for p in sorted(refused)], FatalError(f"Kafka refuses: {reason}"))
            return

    def _failed(self, messages: Sequence[Message], error: OutageError | FatalError) -> None:
        match self._policy:
            case Policy.IGNORE:
                self.counts["ignored"] += len(messages)
                log.warning("%d messages are lost: %s", len(messages), error, extra={"action": "ignored"})
            case Policy.RETRY:
                self.counts["raised"] += len(messages)
                raise error
            case Policy.LOG | Policy.RETRY_THEN_LOG:
                self._keep(messages, error.what)

    def _keep(self, messages: Sequence[Message], why: str) -> None:
        if self._log is None:  # excluded by the constructor
            raise ValueError("there is no failure log")
        self._log.keep(messages, why)
        self.counts["kept"] += len(messages)
        log.warning("%d messages are kept: %s", len(messages), why, extra={"action": "kept"})
