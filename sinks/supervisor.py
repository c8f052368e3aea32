"""Restarts the connector where it failed or hangs, with growing pauses, and says so in health."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sinks.errors import CdcError

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from sinks.connect_api import ConnectorStatus
    from sinks.health import WorkerStatus
    from sinks.retry import Backoff

log = logging.getLogger(__name__)

_LISTEN_SECONDS = 1.0


class Ears(Protocol):
    """What hears heartbeats; see ``sinks.kafka.heartbeat.Heartbeats``."""

    @property
    def heard_at(self) -> float | None:
        """When the last one came; None for who is not elected to act."""
        ...

    def listen(self, seconds: float) -> None:
        """Take in what comes within some time."""
        ...

    def close(self) -> None:
        """Let another be elected."""
        ...


class _Trouble(NamedTuple):
    what: str
    only_failed: bool


class Supervisor:
    """Watches one connector.

    Of the supervisors of all processes one is elected (see ``Heartbeats``). It restarts a failed connector or
    task, and one that says RUNNING while its heartbeat stands still and the source answers: a source that is
    out is waited for by the connector itself.

    Args:
        ears: hear heartbeats, and tell whether this one is elected.
        status: asks Connect how the connector is; None: there is none.
        restart: restarts it: all of it, or what failed.
        source_answers: whether the source is there.
        shown: where health finds what was done.
        silent_seconds: a heartbeat older than this has stopped.
        backoff: between restarts.
        random: a number in [0, 1).
        clock: the clock of ``ears``.
    """

    def __init__(
        self,
        *,
        ears: Ears,
        status: Callable[[], ConnectorStatus | None],
        restart: Callable[[bool], None],
        source_answers: Callable[[], bool],
        shown: WorkerStatus,
        silent_seconds: float,
        backoff: Backoff,
        random: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ears = ears
        self._status = status
        self._restart = restart
        self._source_answers = source_answers
        self._shown = shown
        self._silent_seconds = silent_seconds
        self._backoff = backoff
        self._random = random
        self._clock = clock
        self._attempts = 0
        self._restarted_at = float("-inf")
        self._not_before = float("-inf")

    def run(self, stopping: Event) -> None:
        """Watch until told to stop. Whatever goes wrong here must not end the sinks."""
        try:
            while not stopping.is_set():
                self._ears.listen(_LISTEN_SECONDS)
                try:
                    self.look()
                except CdcError as error:  # Connect or the source is out: nothing can be restarted now
                    log.info("%s", error, extra={"action": "connector_unreachable"})
                except Exception:
                    log.exception("unexpected error while watching the connector", extra={"action": "watch"})
        finally:
            self._ears.close()

    def look(self) -> None:
        """Look once, and act if need be.

        Raises:
            CdcError: Connect can't be asked.
        """
        heard_at, now = self._ears.heard_at, self._clock()
        self._shown.watches_connector(heard_at is not None)
        if heard_at is None or now < self._not_before:
            return
        status = self._status()
        trouble = None if status is None else self._trouble(status, now - max(heard_at, self._restarted_at))
        if trouble is None:
            if heard_at > self._restarted_at:
                self._attempts = 0
            return
        self._attempts += 1
        self._not_before = now + self._backoff.delay(self._attempts, self._random)
        self._restarted_at = now
        log.warning("restarting the connector: %s", trouble.what, extra={"action": "connector_restarted"})
        self._restart(trouble.only_failed)
        self._shown.connector_restarted(trouble.what)

    def _trouble(self, status: ConnectorStatus, silent: float) -> _Trouble | None:
        if status.state == "FAILED":
            return _Trouble(f"it had failed: {status.error}", only_failed=True)
        failed = [task for task in status.tasks if task.state == "FAILED"]
        if failed:
            return _Trouble(f"task {failed[0].id} had failed: {failed[0].error}", only_failed=True)
        running = status.state == "RUNNING" and all(task.state == "RUNNING" for task in status.tasks)
        if running and silent > self._silent_seconds and self._source_answers():
            return _Trouble(f"it said RUNNING without a heartbeat for {silent:.0f} s", only_failed=False)
        return None
