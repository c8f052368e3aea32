from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from sinks.background import Executor, Full, Options, TaskStore
from sinks.errors import ConfigError
from sinks.retry import Backoff
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUICK = Backoff(first=0.001, ceiling=0.001)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TaskStore]:
    made = TaskStore(tmp_path / "tasks.sqlite")
    yield made
    made.close()


@pytest.fixture
def make(store: TaskStore) -> Iterator[Callable[..., Executor]]:
    made: list[Executor] = []

    def executor(handler: Callable[..., object], **options: Any) -> Executor:  # noqa: ANN401
        made.append(Executor({"do": handler}, store, Options(**{"backoff": QUICK, **options})))
        return made[-1]

    yield executor
    for one in made:
        one.close(0.0)


class Gate:
    """A handler that holds its tasks until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun: list[int] = []
        self.done: list[int] = []

    def __call__(self, n: int) -> None:
        self.begun.append(n)
        self.open.wait(30)
        self.done.append(n)


def test_tasks_are_done(make: Callable[..., Executor], store: TaskStore) -> None:
    seen: list[int] = []
    executor = make(lambda n: seen.append(n))  # noqa: PLW0108 (arguments come by name)
    for n in range(100):
        executor.submit("do", n=n)
    assert executor.close(10) == 0
    assert sorted(seen) == list(range(100))
    assert executor.counts["done"] == 100
    assert store.kept("failed") == store.kept("handed_back") == []


def test_a_full_executor_rejects(make: Callable[..., Executor]) -> None:
    gate = Gate()
    executor = make(gate, workers=1, capacity=2, when_full="reject")
    executor.submit("do", n=0)
    executor.submit("do", n=1)
    with pytest.raises(Full, match="2 tasks already"):
        executor.submit("do", n=2)
    gate.open.set()
    wait_until(lambda: executor.counts["done"] == 2)
    executor.submit("do", n=3)
    wait_until(lambda: gate.done == [0, 1, 3])
    assert executor.counts["rejected"] == 1


def test_a_full_executor_holds_the_caller_up(make: Callable[..., Executor]) -> None:
    gate = Gate()
    executor = make(gate, workers=1, capacity=1, wait_seconds=30)
    executor.submit("do", n=0)
    caller = threading.Thread(target=lambda: executor.submit("do", n=1))
    caller.start()
    wait_until(lambda: gate.begun == [0])
    assert executor.counts["accepted"] == 1
    gate.open.set()
    caller.join(10)
    wait_until(lambda: gate.done == [0, 1])


def test_waiting_for_room_ends(make: Callable[..., Executor]) -> None:
    executor = make(Gate(), workers=1, capacity=1, wait_seconds=0.01)
    executor.submit("do", n=0)
    with pytest.raises(Full):
        executor.submit("do", n=1)


def test_failures_are_retried(make: Callable[..., Executor], store: TaskStore) -> None:
    tries: list[int] = []

    def flaky(n: int) -> None:
        tries.append(n)
        if len(tries) < 3:
            raise ValueError("not yet")

    executor = make(flaky)
    executor.submit("do", n=1)
    wait_until(lambda: executor.counts["done"] == 1)
    assert (tries, executor.counts["retries"]) == ([1, 1, 1], 2)
    assert store.kept("failed") == []


def test_what_fails_for_good_is_logged_with_its_context_and_can_be_retried(
    make: Callable[..., Executor], store: TaskStore
) -> None:
    down = True

    def mail(to: str) -> None:
        if down:
            raise ConnectionError(f"no mail for {len(to)} characters")

    executor = make(mail, attempts=3)
    executor.submit("do", to="a@example.com", context={"request": "r1"})
    (kept,) = wait_until(lambda: store.kept("failed"))
    assert kept.task.arguments == {"to": "a@example.com"}
    assert (kept.task.context, kept.task.attempts) == ({"request": "r1"}, 3)
    assert kept.error == "ConnectionError: no mail for 13 characters"
    down = False
    assert executor.retry_failed() == 1
    wait_until(lambda: not store.kept("failed"))
    assert executor.counts["done"] == 1


def test_a_try_that_takes_too_long_counts_as_failed(make: Callable[..., Executor], store: TaskStore) -> None:
    gate = Gate()
    executor = make(gate, timeout_seconds=0.01, attempts=2)
    executor.submit("do", n=1)
    (kept,) = wait_until(lambda: store.kept("failed"))
    assert "no answer within" in kept.error
    assert executor.counts["timeouts"] == 2
    gate.open.set()


def test_shutdown_hands_back_what_is_left_and_a_restart_takes_it_up(
    make: Callable[..., Executor], tmp_path: Path, store: TaskStore
) -> None:
    gate = Gate()
    executor = make(gate, workers=1, capacity=10)
    for n in range(5):
        executor.submit("do", n=n)
    wait_until(lambda: gate.begun == [0])
    assert executor.close(0.05) == 5
    with pytest.raises(Full, match="shutting down"):
        executor.submit("do", n=9)
    again = TaskStore(tmp_path / "tasks.sqlite")
    assert [kept.task.arguments["n"] for kept in again.kept("handed_back")] == [0, 1, 2, 3, 4]
    gate.open.set()
    wait_until(lambda: len(store.kept("handed_back")) == 4, what="the running one finished after all")
    seen: list[int] = []
    second = make(lambda n: seen.append(n), workers=1)  # noqa: PLW0108 (likewise)
    assert second.resume() == 4
    assert second.close(10) == 0
    assert seen == [1, 2, 3, 4]
    assert again.kept("handed_back") == []
    again.close()


def test_a_task_that_waits_for_its_retry_is_handed_back(
    make: Callable[..., Executor], store: TaskStore
) -> None:
    def broken(n: int) -> None:
        raise ValueError(f"broken {n}")

    executor = make(broken, backoff=Backoff(first=3600, ceiling=3600))
    executor.submit("do", n=1)
    wait_until(lambda: executor.counts["retries"] == 1)
    assert executor.close(0.05) == 1
    (kept,) = store.kept("handed_back")
    assert kept.task.attempts == 1


def test_an_unknown_handler_is_refused_at_once(make: Callable[..., Executor]) -> None:
    with pytest.raises(ConfigError, match="no background handler"):
        make(print).submit("other")


def test_metrics(make: Callable[..., Executor]) -> None:
    registry = CollectorRegistry()
    executor = make(lambda n: n)
    registry.register(executor)
    executor.submit("do", n=1)
    wait_until(lambda: executor.counts["done"] == 1)
    assert b'cdc_background_tasks_total{outcome="done"} 1.0' in generate_latest(registry)


def test_a_task_that_runs_on_after_the_file_is_closed_stays_handed_back(tmp_path: Path) -> None:
    gate = Gate()
    store = TaskStore(tmp_path / "late.sqlite")
    executor = Executor({"do": gate}, store, Options(workers=1, backoff=QUICK))
    executor.submit("do", n=1)
    wait_until(lambda: gate.begun == [1])
    assert executor.close(0.0) == 1
    store.close()
    gate.open.set()
    wait_until(lambda: executor.counts["done"] == 1)
    again = TaskStore(tmp_path / "late.sqlite")
    assert [kept.task.arguments for kept in again.kept("handed_back")] == [{"n": 1}]
    again.close()
