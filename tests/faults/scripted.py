"""Doubles of Kafka for thousands of runs: they deliver, rebalance and fail by a seed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from sinks.errors import OutageError
from sinks.targets.base import Claim
from tests.faults.history import FIRST

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sinks.change import TopicPartition
    from sinks.kafka.consumer import Polled
    from sinks.targets.base import Rejection
    from tests.faults.history import History, Message

_TURN_SECONDS = 0.0005


class ScriptedConsumer:
    """The interface of ``PartitionConsumer`` over a history."""

    def __init__(
        self, history: History, dice: random.Random, *, trouble: float, idle: Callable[[], None]
    ) -> None:
        self.before_revoke: Callable[[frozenset[TopicPartition]], None] = lambda _: None
        self._history = history
        self._random = dice
        self._trouble = trouble
        self._idle = idle
        self._assigned: set[TopicPartition] = set()
        self._next: dict[TopicPartition, int] = {}
        self._told_end: set[TopicPartition] = set()
        self._paused = False
        self._turn = threading.Event()

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        return frozenset(self._assigned)

    @property
    def waiting(self) -> frozenset[TopicPartition]:
        return frozenset(self._assigned - self._next.keys())

    def start(self, positions: Mapping[TopicPartition, int]) -> None:
        for partition, offset in positions.items():
            assert partition in self._assigned
            self._next[partition] = max(offset, FIRST[partition])
            self._told_end.discard(partition)

    def stop(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        for partition in list(self._next if partitions is None else partitions):
            self._next.pop(partition, None)

    def hold(self, partitions: Iterable[TopicPartition]) -> None:
        assert not set(partitions)

    def poll(self, polled: Polled, timeout: float, *, max_records: int, max_bytes: int) -> None:
        del max_bytes
        roll = self._random.random()
        if roll < self._trouble:
            self._rebalance()
        elif roll < self._trouble * 1.5:
            raise OutageError("scripted: no broker can be reached")
        elif not self._assigned:
            self._assigned = set(self._history.log)
        if self._paused:
            return
        before = polled.count
        for partition in sorted(self._next):
            self._deliver(polled, partition, max_records)
        if polled.count == before and timeout:
            self._turn.wait(_TURN_SECONDS)
            self._idle()

    def _rebalance(self) -> None:
        """Lose some partitions, which come back at once or later."""
        gone = frozenset(p for p in self._assigned if self._random.random() < 0.5)
        if gone:
            self.before_revoke(gone)
            self._assigned -= gone
            self.stop(gone)
        if self._random.random() < 0.7:
            self._assigned = set(self._history.log)

    def _deliver(self, polled: Polled, partition: TopicPartition, max_records: int) -> None:
        room = min(max_records - polled.count, self._random.randint(0, 60))
        for message in self._history.log[partition]:
            if message.at < self._next[partition]:
                continue
            if room <= 0:
                return
            polled.messages[partition].append(message)  # type: ignore[arg-type]  # a double of ck.Message
            polled.count += 1
            polled.size += len(message)
            self._next[partition] = message.at + 1
            room -= 1
        if room and partition not in self._told_end:
            self._told_end.add(partition)
            polled.ends[partition] = self._next[partition] = self._history.ends[partition]

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def high_watermarks(self) -> dict[TopicPartition, int]:
        return {partition: self._history.ends[partition] for partition in self._next}

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Offsets in Kafka are never read: there is nothing to keep."""

    def close(self) -> None:
        """There is no group to leave."""


class ScriptedTopics:
    """The interface of ``Topics``."""

    def claims(self, partitions: frozenset[TopicPartition]) -> list[Claim]:
        return [Claim(p, f"id-{p.topic}", 2 if p.topic.endswith("people") else 1) for p in sorted(partitions)]


class ScriptedLetters:
    """The interface of ``DeadLetters``; ``durable`` outlives the process."""

    def __init__(
        self, durable: list[tuple[TopicPartition, int]], dice: random.Random, *, trouble: float
    ) -> None:
        self._durable = durable
        self._random = dice
        self._trouble = trouble

    def write(self, letters: Sequence[tuple[Rejection, Message]]) -> None:
        if self._random.random() < self._trouble:
            raise OutageError("scripted: Kafka does not take dead letters")
        for rejection, message in letters:
            assert (message.of, message.at) == (rejection.partition, rejection.offset)
        self._durable += [(rejection.partition, rejection.offset) for rejection, _ in letters]
        if self._random.random() < self._trouble:
            raise OutageError("scripted: the answer got lost")
