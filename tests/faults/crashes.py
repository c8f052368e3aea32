"""Seeded in-process crash runs: the real worker dies at named points, starts again, and the end is checked.

.venv/bin/python -m tests.faults.crashes --runs 1000 --seed 1
.venv/bin/python -m tests.faults.crashes --runs 100 --seed 1 --postgres DSN
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import random
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from sinks.barriers import Barriers, NoChanges
from sinks.breaker import Breaker
from sinks.crash_points import CrashPoint
from sinks.envelope import ChangeReader, Routed
from sinks.errors import OutageError
from sinks.health import WorkerStatus
from sinks.metrics import WorkerMetrics
from sinks.retry import Backoff
from sinks.table_schema import TableId
from sinks.targets.base import RowChanges
from sinks.targets.memory import After, Before, MemoryServer, MemoryTarget
from sinks.wire.confluent_avro import ConfluentAvro
from sinks.worker import Limits, Worker
from tests.faults.history import SCHEMAS, Writer
from tests.faults.record import Row, record
from tests.faults.scripted import ScriptedConsumer, ScriptedLetters, ScriptedTopics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import Enum

    from sinks.change import TopicPartition
    from sinks.kafka.consumer import PartitionConsumer
    from sinks.kafka.dead_letters import DeadLetters
    from sinks.kafka.topics import Topics
    from sinks.table_schema import TableSchema
    from sinks.targets.base import Batch, Stored, Target
    from sinks.targets.memory import Fault, Key
    from sinks.targets.memory import Row as MemoryRow
    from tests.faults.history import History

_LIVES = 60
_TURNS = 20_000


class KilledError(BaseException):
    """Unwinds as a kill does: nothing in the worker catches it."""


@dataclass
class Outcome:
    """What a run, or many, came to."""

    runs: int = 0
    kills: int = 0
    changes: int = 0
    parked: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    points: Counter[str] = field(default_factory=Counter)

    def add(self, other: Outcome) -> None:
        for name in ("runs", "kills", "changes", "parked", "lost", "duplicated", "out_of_order", "points"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.out_of_order)


class Killer:
    """Dies at the n-th time that a point is reached; a dead process reaches no further point."""

    def __init__(self, point: Enum | None, times: int) -> None:
        self._point = point
        self._left = times
        self.dead = False

    def __call__(self, at: Enum) -> None:
        if at is self._point:
            self._left -= 1
        if self.dead or (at is self._point and self._left <= 0):
            self.dead = True
            raise KilledError(at.name)


class JournalledTarget(MemoryTarget):
    """Keeps the offsets of every change that was committed, in the order of the commits."""

    journal: list[tuple[TopicPartition, int]]

    def _commit(
        self,
        batch: Batch,
        tables: dict[TableId, dict[Key, MemoryRow]],
        keyless: dict[TableId, list[MemoryRow]],
    ) -> None:
        super()._commit(batch, tables, keyless)
        for segment in batch.segments:
            if isinstance(segment, RowChanges):
                offsets = segment.frame["offset"].unique(maintain_order=True)
                self.journal += [(segment.partition, offset) for offset in offsets]


class MemoryStore:
    """The reference target; every applied change is seen."""

    steps: tuple[Enum, ...] = ()
    database = "shop"

    def __init__(self, history: History) -> None:
        self._history = history
        self._server = MemoryServer()
        self._journal: list[tuple[TopicPartition, int]] = []

    def target(self, dice: random.Random, reached: Callable[[Enum], None]) -> Target:
        del reached
        faults: list[Fault] = [
            dice.choice((Before, After))(OutageError("scripted")) for _ in range(dice.choice((0, 0, 1, 2)))
        ]
        target = JournalledTarget("crash", self._server, faults=faults, refuses=self._history.refused)
        target.journal = self._journal
        return target

    def stored(self) -> Mapping[TopicPartition, Stored]:
        return self._server.state

    def check(self) -> Outcome:
        """Compare every committed change and the rows at the end with the model."""
        found = Outcome()
        for partition, expected in self._history.applied.items():
            refused = {offset for of, offset in self._history.parked if of == partition}
            applied = [o for of, o in self._journal if of == partition and o not in refused]
            found.lost += len(set(expected) - set(applied))
            found.duplicated += len(applied) - len(set(applied)) + len(set(applied) - set(expected))
            found.out_of_order += sum(b < a for a, b in itertools.pairwise(applied))
        rows = {t.name: list(rows.values()) for t, rows in self._server.tables.items()}
        people = {row["id"]: (row["v"], row["t"]) for row in rows.get("people", [])}
        lines = [row for t, rows in self._server.keyless.items() if t.name == "log" for row in rows]
        compare(found, self._history, people, Counter((row["v"], row["t"]) for row in lines))
        return found

    def close(self) -> None:
        """Memory needs no clearing up."""


def compare(
    found: Outcome, history: History, people: Mapping[int, tuple[int, str]], notes: Counter[tuple[int, str]]
) -> None:
    """Add the differences between rows and model: missing, too many, older than they should be."""
    for number in people.keys() | history.people.keys():
        there, wanted = people.get(number), history.people.get(number)
        if there is None:
            found.lost += 1
        elif wanted is None:
            found.duplicated += 1
        elif there != wanted:
            found.out_of_order += 1
    found.lost += (history.notes - notes).total()
    found.duplicated += (notes - history.notes).total()


def one_run(seed: object, *, store_of: Any = MemoryStore, point: Enum | None = None) -> Outcome:  # noqa: ANN401
    """Write a history, kill the worker while it applies it, start it again, and compare.

    Args:
        seed: of everything random in the run.
        store_of: where the changes go.
        point: where it dies first; by the seed if not given.
    """
    dice = random.Random(f"run/{seed}")
    history = Writer(seed).write(dice.randint(5, 60))
    store = store_of(history)
    letters: list[tuple[TopicPartition, int]] = []
    outcome = Outcome(runs=1, changes=history.changes, parked=len(history.parked))
    points: list[Enum] = [*CrashPoint, *store.steps]
    planned = [point or dice.choice(points), *dice.choices(points, k=dice.randint(0, 4))]
    try:
        for life in range(_LIVES):
            at = planned[life] if life < len(planned) else None
            killer = Killer(at, 1 if life == 0 and point else dice.choice((1, 1, 2, 3, 8)))
            _live(history, store, letters, killer, random.Random(f"life/{seed}/{life}"))
            if killer.dead:
                outcome.kills += 1
                outcome.points[cast("Enum", at).name] += 1
            elif life >= len(planned) or _drained(history, store):
                break
        outcome.add(store.check())
        outcome.lost += len(history.parked - set(letters))
        outcome.duplicated += len(set(letters) - history.parked)
        if not _drained(history, store):
            outcome.lost += 1
        if sum(s.progress.counts.get("parked", 0) for s in store.stored().values()) != len(history.parked):
            outcome.duplicated += 1
    finally:
        store.close()
    return outcome


def _drained(history: History, store: MemoryStore) -> bool:
    stored = store.stored()
    return all(p in stored and stored[p].progress.next_offset >= end for p, end in history.ends.items())


def _live(
    history: History,
    store: MemoryStore,
    letters: list[tuple[TopicPartition, int]],
    killer: Killer,
    dice: random.Random,
) -> None:
    """One life of a worker: until it is killed, or until all is applied."""
    turns = itertools.count()

    def idle() -> None:
        if _drained(history, store) or next(turns) > _TURNS:
            worker.stop()

    ticks = itertools.count()
    trouble = dice.choice((0.0, 0.01, 0.05))
    worker = Worker(
        consumer=cast(
            "PartitionConsumer",
            ScriptedConsumer(history, random.Random(dice.random()), trouble=trouble, idle=idle),
        ),
        topics=cast("Topics", ScriptedTopics()),
        target=store.target(dice, killer),
        reader=ChangeReader(ConfluentAvro(SCHEMAS.__getitem__), partial(_everything, store.database)),
        barriers=Barriers(NoChanges(), lambda _: iter(()), lambda _: None),
        dead_letters=cast("DeadLetters", ScriptedLetters(letters, dice, trouble=trouble)),
        status=WorkerStatus("crash"),
        metrics=WorkerMetrics("crash"),
        breaker=Breaker(3, 1.0),
        backoff=Backoff(0.1, ceiling=1.0),
        limits=Limits(dice.choice((3, 20, 100)), 1 << 20, 5.0),
        random=dice.random,
        clock=lambda: next(ticks) * 0.2,
        reached=killer,
    )
    with suppress(KilledError):
        worker.run()
    worker._executor.shutdown(wait=True)  # a dead process has no thread left


def _everything(database: str, schema: TableSchema) -> Routed:
    schema = replace(schema, table=TableId(database, schema.table.name))
    return Routed(schema, tuple(range(len(schema.columns))))


def many(runs: int, seed: int, *, store_of: Any = MemoryStore, say: Callable[[str], None]) -> Outcome:  # noqa: ANN401
    """Run with seeds ``seed/0 …``; name every seed that found something."""
    total = Outcome()
    logging.disable(logging.CRITICAL)  # scripted outages are no news
    for number in range(runs):
        found = one_run(f"{seed}/{number}", store_of=store_of)
        total.add(found)
        if not found.clean:
            say(f"seed {seed}/{number}: {found}\n")
    logging.disable(logging.NOTSET)
    return total


def _say(line: str) -> None:
    sys.stderr.write(line)


def main() -> int:
    """Run by command; the last line is JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--postgres", metavar="DSN", default="", help="into a real server, in schemas of its own"
    )
    parser.add_argument("--record", action="store_true", help="append the result to docs/guarantees.md")
    chosen = parser.parse_args()
    began = time.monotonic()
    store_of: Any = MemoryStore
    if chosen.postgres:
        from tests.faults.postgres_store import stores_at  # noqa: PLC0415 (a driver that memory does not need)

        store_of = stores_at(chosen.postgres)
    total = many(chosen.runs, chosen.seed, store_of=store_of, say=_say)
    sys.stdout.write(json.dumps({**vars(total), "seconds": round(time.monotonic() - began, 1)}) + "\n")
    if chosen.record:
        where = " --postgres DSN" if chosen.postgres else ""
        into = "into PostgreSQL" if where else "in process"
        what = f"worker killed between two steps, {into}: {total.kills:,} times"
        command = f"python -m tests.faults.crashes --runs {chosen.runs} --seed {chosen.seed}{where}"
        found = (total.lost, total.duplicated, total.out_of_order)
        record([Row(what, command, total.runs, str(chosen.seed), total.changes, *found)])
    return 0 if total.clean else 1


if __name__ == "__main__":
    sys.exit(main())
