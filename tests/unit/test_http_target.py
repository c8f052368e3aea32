"""Answers and what they mean, idempotency keys, order, leases; the rest is in the contract suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sinks.errors import FatalError, OutageError
from sinks.targets.http import HttpTarget
from tests.builders import INT, VARCHAR, changes, delete, put, table
from tests.contract.http_harness import Service
from tests.contract.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ITEMS = table("items", {"id": INT, "name": VARCHAR}, ["id"])


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture
def target(service: Service, tmp_path: Path) -> Iterator[HttpTarget]:
    made = HttpTarget("partner", service.url, state=str(tmp_path / "state.sqlite"), connections=2)
    yield made
    made.close()


def test_what_is_sent(service: Service, target: HttpTarget) -> None:
    Worker(target).apply(changes(ITEMS, put(7, 1, "one"), delete(8, 1, "one")), next_offset=9)
    first, second = service.requests
    assert first == {
        "id": "partner/cdc.shop.items/0/7",
        "table": "shop.items",
        "version": 7,
        "op": "upsert",
        "key": {"id": 1},
        "row": {"id": 1, "name": "one"},
    }
    assert (second["op"], second["version"]) == ("delete", 8)


def test_every_change_of_a_key_is_sent_in_order(service: Service, target: HttpTarget) -> None:
    rows = [put(n, n % 5, f"v{n}") for n in range(100)]
    Worker(target).apply(changes(ITEMS, *rows), next_offset=100)
    for key in range(5):
        sent = [one["version"] for one in service.requests if one["key"] == {"id": key}]
        assert sent == list(range(key, 100, 5))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_an_outage_is_told_and_what_was_answered_is_not_sent_again(
    service: Service, target: HttpTarget, status: int
) -> None:
    worker = Worker(target)
    service.answers = [200, status]
    with pytest.raises(OutageError, match=str(status)):
        worker.apply(changes(ITEMS, *(put(n, 1, f"v{n}") for n in range(3))), next_offset=3)
    assert Worker(target).next_offset() == 0
    worker.apply(changes(ITEMS, *(put(n, 1, f"v{n}") for n in range(3))), next_offset=3)
    assert [one["version"] for one in service.requests] == [0, 1, 2]


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405])
def test_an_answer_that_no_change_causes_is_fatal(service: Service, target: HttpTarget, status: int) -> None:
    worker = Worker(target)
    service.answers = [status]
    with pytest.raises(FatalError, match=str(status)):
        worker.apply(changes(ITEMS, put(0, 1, "one")), next_offset=1)
    assert worker.parked == []


def test_nobody_there_is_an_outage(tmp_path: Path) -> None:
    target = HttpTarget("partner", "http://127.0.0.1:1/", state=str(tmp_path / "state.sqlite"))
    with pytest.raises(OutageError):
        target.ping()
    with pytest.raises(OutageError):
        Worker(target).apply(changes(ITEMS, put(0, 1, "one")), next_offset=1)
    target.close()


def test_a_restart_sends_the_same_keys_and_they_change_nothing(
    service: Service, target: HttpTarget, tmp_path: Path
) -> None:
    worker = Worker(target)
    service.answers = [200, 200, 503]
    segment = changes(ITEMS, *(put(n, 1, f"v{n}") for n in range(3)))
    with pytest.raises(OutageError):
        worker.apply(segment, next_offset=3)
    again = HttpTarget("partner", service.url, state=str(tmp_path / "state.sqlite"))
    Worker(again).apply(segment, next_offset=3)
    assert [one["version"] for one in service.requests] == [0, 1, 0, 1, 2]
    assert len(service.seen) == 3
    again.close()
