"""The faults that the reference target is scripted with."""

from __future__ import annotations

import pytest

from sinks.errors import OutageError
from sinks.targets.memory import After, Before, During, MemoryTarget
from tests.builders import INT, PARTITION, VARCHAR, changes, put, table
from tests.contract.worker import Worker

ITEMS = table("items", {"id": INT, "name": VARCHAR}, ["id"])


def test_before_nothing_is_written_and_after_everything_is() -> None:
    target = MemoryTarget("memory", faults=[Before(OutageError("down")), After(OutageError("cut off"))])
    worker = Worker(target)
    segment = changes(ITEMS, put(0, 1, "one"))
    with pytest.raises(OutageError, match="down"):
        worker.apply(segment, next_offset=1)
    assert (target.rows(ITEMS.table), target.stored()[PARTITION].progress.next_offset) == ([], 0)
    with pytest.raises(OutageError, match="cut off"):
        worker.apply(segment, next_offset=1)
    assert target.rows(ITEMS.table) == [{"id": 1, "name": "one"}]
    assert target.stored()[PARTITION].progress.next_offset == 1


def test_something_happens_during_a_batch() -> None:
    called: list[str] = []
    target = MemoryTarget("memory", faults=[During(lambda: called.append("held"))])
    worker = Worker(target)
    worker.apply(next_offset=1)
    worker.apply(next_offset=2)
    assert called == ["held"]
    assert [batch.progress[PARTITION].next_offset for batch in target.batches] == [1, 2]
