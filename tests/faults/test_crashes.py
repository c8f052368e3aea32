"""The worker dies between any two steps, in process: nothing is lost, doubled or out of order afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from sinks.change import Watermark
from sinks.crash_points import CrashPoint
from sinks.targets.postgres import Step
from tests.faults.crashes import MemoryStore, Outcome, many, one_run
from tests.faults.postgres_store import stores_at

if TYPE_CHECKING:
    from enum import Enum

    from sinks.targets.base import Stored

SEED = 20_261_123


@pytest.mark.parametrize("point", list(CrashPoint), ids=lambda point: point.name.lower())
def test_death_at_each_point(point: CrashPoint) -> None:
    """A point that only an outage or a rebalance leads to is reached under some of the seeds."""
    found = Outcome()
    for number in range(20):
        found.add(one_run(f"{SEED}/{point.name}/{number}", point=point))
        if found.points[point.name]:
            break
    assert found.points[point.name]
    assert found.clean, found


def test_seeded_deaths() -> None:
    said: list[str] = []
    found = many(30, SEED, say=said.append)
    assert found.clean, said
    assert found.kills >= 30


class Forgetful(MemoryStore):
    """Loses the watermark whenever a worker starts: a stretch that was sent twice is applied twice."""

    def target(self, dice: Any, reached: Any) -> Any:  # noqa: ANN401
        for partition, stored in list(self._server.state.items()):
            self._server.state[partition] = _without_watermark(stored)
        return super().target(dice, reached)


def _without_watermark(stored: Stored) -> Stored:
    return replace(stored, progress=replace(stored.progress, watermark=Watermark()))


def test_the_runs_find_a_target_that_forgets() -> None:
    said: list[str] = []
    assert many(20, SEED, store_of=Forgetful, say=said.append).duplicated


@pytest.mark.stack
def test_seeded_deaths_over_postgres(endpoints: dict[str, Any]) -> None:
    said: list[str] = []
    found = many(10, SEED, store_of=stores_at(endpoints["postgres"]["dsn"]), say=said.append)
    assert found.clean, said


@pytest.mark.stack
@pytest.mark.parametrize("point", list(Step), ids=lambda point: point.name.lower())
def test_death_at_each_step_of_postgres(endpoints: dict[str, Any], point: Enum) -> None:
    found = one_run(f"{SEED}/{point.name}", point=point, store_of=stores_at(endpoints["postgres"]["dsn"]))
    assert found.points[point.name]
    assert found.clean, found
