"""A bounded executor: back-pressure or rejection, retries, timeouts, and a shutdown that keeps the rest."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sinks.background.store import Task, TaskStore
from sinks.errors import CdcError, ConfigError
from sinks.retry import Backoff

log = logging.getLogger(__name__)

Handler = Callable[..., object]


class Full(CdcError):  # noqa: N818 (the name that queues give it)
    """No room: the caller decides what becomes of the work."""


@dataclass(frozen=True)
class Options:
    """How an executor works.

    Attributes:
        workers: tasks that run at once.
        capacity: tasks accepted and not finished, running and waiting for a retry ones included.
        when_full: ``wait`` holds the caller up, ``reject`` raises :class:`Full`.
        wait_seconds: how long ``wait`` waits before it raises all the same.
        timeout_seconds: a try that takes longer counts as failed.
        attempts: tries before a task goes to the failure log.
        backoff: between tries.
    """

    workers: int = 4
    capacity: int = 1000
    when_full: Literal["wait", "reject"] = "wait"
    wait_seconds: float = 30.0
    timeout_seconds: float = 30.0
    attempts: int = 5
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(order=True)
class _Queued:
    due: float
    order: int
    task: Task = field(compare=False)
    stored: int | None = field(compare=False, default=None)


class Executor:
    """Runs tasks after the commit of the transaction that they follow from.

    A task is accepted or refused at once and is then done, in the failure log, or handed back: nothing else.
    What a crash (not a shutdown) takes with it is what was accepted and not finished; work that must survive
    that belongs in the outbox.

    A try that exceeds its timeout can't be ended in Python: its thread is left to finish, a new one takes its
    place, and the task is tried again; so handlers must bear being run twice, and use timeouts of their own.

    Args:
        handlers: name → function; called with the task's arguments by name.
        store: keeps what failed and what was handed back.
        options: bounds and retries.
        clock: seconds, never going back.
        random: numbers in [0, 1).
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        store: TaskStore,
        options: Options | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._handlers = dict(handlers)
        self._store = store
        self._options = options or Options()
        self._clock = clock
        self._random = random
        self._order = itertools.count()
        self._queue: list[_Queued] = []
        self._running: dict[int, _Queued] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._stopped = False
        self.counts: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=self._work, name=f"background-{n}", daemon=True)
            for n in range(self._options.workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        handler: str,
        /,
        *,
        context: Mapping[str, Any] | None = None,
        **arguments: Any,  # noqa: ANN401 (JSON)
    ) -> None:
        """Accept a task.

        Args:
            handler: name of its handler.
            context: said in the failure log.
            arguments: JSON values that the handler is called with.

        Raises:
            Full: there is no room, or not within ``wait_seconds``, or the executor is shutting down.
            ConfigError: there is no such handler.
        """
        self._accept(Task(handler, arguments, context or {}), None)

    def resume(self) -> int:
        """Take up what an earlier shutdown handed back, once after the start; return how many tasks."""
        kept = self._store.kept("handed_back")
        for one in kept:
            self._accept(one.task, one.id)
        return len(kept)

    def retry_failed(self) -> int:
        """Try again what is in the failure log, each with a new count; return how many tasks."""
        kept = self._store.kept("failed")
        for one in kept:
            self._accept(replace(one.task, attempts=0), one.id)
        return len(kept)

    def _accept(self, task: Task, stored: int | None) -> None:
        if task.handler not in self._handlers:
            raise ConfigError(f"there is no background handler {task.handler!r}", where="background")
        options = self._options
        with self._changed:
            if options.when_full == "wait":
                self._changed.wait_for(lambda: self._closing or self._has_room(), options.wait_seconds)
            if self._closing or not self._has_room():
                self.counts["rejected"] += 1
                why = "is shutting down" if self._closing else f"has {options.capacity:,} tasks already"
                raise Full(f"the background executor {why}", where=task.handler)
            self.counts["accepted"] += 1
            self._push(task, self._clock(), stored)

    def _has_room(self) -> bool:
        return len(self._queue) + len(self._running) < self._options.capacity

    def _push(self, task: Task, due: float, stored: int | None) -> None:
        heapq.heappush(self._queue, _Queued(due, next(self._order), task, stored))
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                queued = self._next()
                if queued is None:
                    return
                self._running[queued.order] = queued
            try:
                self._run(queued)
            finally:
                with self._changed:
                    del self._running[queued.order]
                    self._changed.notify_all()

    def _next(self) -> _Queued | None:
        """Wait for a task that is due; None when the executor has stopped."""
        while not self._stopped:
            now = self._clock()
            if self._queue and self._queue[0].due <= now:
                return heapq.heappop(self._queue)
            self._changed.wait(self._queue[0].due - now if self._queue else None)
        return None

    def _run(self, queued: _Queued) -> None:
        """Try once: done, tried again later, or into the failure log."""
        task = replace(queued.task, attempts=queued.task.attempts + 1)
        error = self._try(task)
        if error is None:
            self.counts["done"] += 1
            if queued.stored is not None:
                self._store.remove(queued.stored)
            return
        log.warning(
            "background task %s failed, try %d: %s",
            task.handler,
            task.attempts,
            error,
            extra={"action": "task_failed", "context": dict(task.context)},
        )
        if task.attempts < self._options.attempts:
            self.counts["retries"] += 1
            delay = self._options.backoff.delay(task.attempts, self._random)
            with self._changed:
                if not self._stopped:
                    self._push(task, self._clock() + delay, queued.stored)
            return  # handed back by now if the executor has stopped
        if self._stopped:
            return  # handed back: the next start tries it again
        self._store.keep(task, "failed", error)
        if queued.stored is not None:
            self._store.remove(queued.stored)
        self.counts["failed"] += 1

    def _try(self, task: Task) -> str | None:
        """Run the handler in a thread of its own, for as long as it may take; return what went wrong."""
        result: Future[object] = Future()

        def call() -> None:
            try:
                result.set_result(self._handlers[task.handler](**task.arguments))
            except BaseException as error:  # noqa: BLE001 (told to the one who waits)
                result.set_exception(error)

        threading.Thread(target=call, name=f"task-{task.handler}", daemon=True).start()
        try:
            error = result.exception(self._options.timeout_seconds)
        except TimeoutError:
            self.counts["timeouts"] += 1
            return f"no answer within {self._options.timeout_seconds:g} s"
        return None if error is None else f"{type(error).__name__}: {error}"

    def close(self, deadline_seconds: float = 10.0) -> int:
        """Shut down: accept nothing more, finish what can be finished in time, keep the rest on disk.

        1. Refuse new tasks.
        2. Wait until all are done, those that wait for a retry included, up to the deadline.
        3. Hand back what has not begun or waits for a retry: a later :meth:`resume` takes it up.
        4. Hand back what is still running, too: it may then be done twice, never not at all.

        Returns:
            How many tasks were handed back.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not (self._queue or self._running), deadline_seconds)
            self._stopped = True
            left = sorted([*self._queue, *self._running.values()])
            self._queue = []
            for queued in left:
                self._hand_back(queued)
            self._changed.notify_all()
        if not left:
            for thread in self._threads:
                thread.join()
        return len(left)

    def _hand_back(self, queued: _Queued) -> None:
        """Have it on disk; a running one that succeeds after all is taken from there again."""
        if queued.stored is None:
            queued.stored = self._store.keep(queued.task, "handed_back")
        self.counts["handed_back"] += 1

    def collect(self) -> list[CounterMetricFamily | GaugeMetricFamily]:
        """Return Prometheus metrics; ``registry.register(executor)`` serves them."""
        outcomes = CounterMetricFamily("cdc_background_tasks", "Tasks by outcome", labels=("outcome",))
        for outcome in ("accepted", "done", "retries", "failed", "rejected", "timeouts", "handed_back"):
            outcomes.add_metric((outcome,), self.counts[outcome])
        with self._changed:
            queued, running = len(self._queue), len(self._running)
        return [
            outcomes,
            GaugeMetricFamily("cdc_background_queued", "Tasks that wait", value=queued),
            GaugeMetricFamily("cdc_background_running", "Tasks that run", value=running),
        ]
