"""Where a partition goes on: stored with the rows, started over when Kafka's topic is another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sinks.change import Place, Progress, TopicPartition, Watermark
from sinks.errors import FatalError, FencedError
from sinks.targets.base import Batch, Claim
from sinks.targets.postgres import migrations
from tests.postgres.conftest import P0, MakeTarget, Sink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.stack

P1 = TopicPartition(P0.topic, 1)
FULL = Progress(
    next_offset=7,
    watermark=Watermark({"3e11fa47:tag": Place(5, 2), "aa": Place(2**62, 1)}),
    gtid="3e11fa47:tag:5",
    source_ms=1_700_000_000_123,
    counts={"c": 3, "replay": 1},
)


def test_nothing_is_stored_before_the_first_claim(make_target: MakeTarget) -> None:
    assert make_target().stored() == {}


def test_first_sight(make_target: MakeTarget) -> None:
    stored = make_target().claim([Claim(P0, "a", 1)])
    assert stored[P0].progress == Progress(0)
    assert (stored[P0].generation, stored[P0].lease, stored[P0].committed_ms) == (0, 1, 0)
    assert make_target().claim([]) == {}


def test_progress_comes_back_whole(make_target: MakeTarget) -> None:
    target = make_target("whole")
    target.claim([Claim(P0, "a", 2), Claim(P1, "a", 2)])
    target.apply(Batch([], {P0: FULL, P1: Progress(1)}), lambda _: None)
    again = make_target("whole").claim([Claim(P0, "a", 2)])
    assert again[P0].progress == FULL
    assert again[P0].lease == 2
    assert again[P0].committed_ms > 1_700_000_000_000
    stored = make_target("whole").stored()
    assert stored[P0] == again[P0]
    assert stored[P1].progress == Progress(1)
    assert make_target("other").stored() == {}


def test_a_re_created_topic_starts_over_in_all_partitions(make_target: MakeTarget) -> None:
    one, other = make_target("again"), make_target("again")
    one.claim([Claim(P0, "a", 2)])
    other.claim([Claim(P1, "a", 2)])
    one.apply(Batch([], {P0: FULL}), lambda _: None)
    other.apply(Batch([], {P1: FULL}), lambda _: None)
    claimed = one.claim([Claim(P0, "b", 2)])[P0]
    assert (claimed.generation, claimed.progress.next_offset) == (1, 0)
    assert claimed.progress == Progress(0, counts=FULL.counts)
    with pytest.raises(FencedError):  # its offsets are the old topic's
        other.apply(Batch([], {P1: Progress(8)}), lambda _: None)
    claimed = other.claim([Claim(P1, "b", 2)])[P1]
    assert (claimed.generation, claimed.progress.next_offset) == (1, 0)


def test_more_partitions_are_a_new_generation(make_target: MakeTarget) -> None:
    target = make_target()
    target.claim([Claim(P0, "a", 1)])
    target.apply(Batch([], {P0: FULL}), lambda _: None)
    claimed = target.claim([Claim(P0, "a", 2), Claim(P1, "a", 2)])
    assert {p: (s.generation, s.progress.next_offset) for p, s in claimed.items()} == {P0: (1, 7), P1: (1, 0)}
    assert target.claim([Claim(P0, "a", 2)])[P0].generation == 1


def test_the_state_schema_is_configurable(make_target: MakeTarget, query: Callable[..., Any]) -> None:
    sink = Sink(make_target("elsewhere", state_schema='our "own"'), P0)
    sink.apply()
    assert query('SELECT next_offset FROM "our ""own""".partition') == [(1,)]


def test_migrations_run_once_and_must_not_change(
    make_target: MakeTarget, query: Callable[..., Any], tmp_path: Path
) -> None:
    for _ in range(2):
        make_target().claim([])
    names = [migration.name for migration in migrations.load(migrations.directory())]
    assert [name for (name,) in query("SELECT name FROM cdc.migration ORDER BY number")] == names
    query("UPDATE cdc.migration SET sha256 = 'x' || sha256")
    with pytest.raises(FatalError, match="another text"):
        make_target().claim([])
    query("UPDATE cdc.migration SET sha256 = substr(sha256, 2)")
    query("INSERT INTO cdc.migration VALUES (99, 'future', '')")
    with pytest.raises(FatalError, match="has migration 99"):
        make_target().claim([])
    query("DELETE FROM cdc.migration WHERE number = 99")
    with pytest.raises(FatalError, match="not complete"):
        migrations.load(tmp_path)
