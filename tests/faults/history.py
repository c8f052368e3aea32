"""A seeded history of a source, as Kafka holds it, and the state that it has to end in.

Two tables: ``people`` with a key, over two partitions, and ``log`` without one. Among the changes:
tombstones, truncates, transaction markers (gaps in the offsets), stretches that the connector sent twice,
records that can't be decoded, and records that the target refuses.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from sinks.change import TopicPartition
from tests.debezium import UUID, AvroRecords, Col, Row, Table

PEOPLE = Table(
    "people", [Col("id", "INT", "int32", nullable=False), Col("v", "INT", "int32"), Col("t", "TEXT")]
)
LOG = Table("log", [Col("v", "INT", "int32"), Col("t", "TEXT")], key=())
P0 = TopicPartition("cdc.shop.people", 0)
P1 = TopicPartition("cdc.shop.people", 1)
L0 = TopicPartition("cdc.shop.log", 0)
# Offsets tell partitions apart: a target's refusals are scripted by offset alone.
FIRST = {P0: 0, P1: 1_000_000, L0: 2_000_000}
POISON = "poi\0son"

_PEOPLE = AvroRecords(PEOPLE, 1, 2)
_LOG = AvroRecords(LOG, 0, 3)
SCHEMAS: dict[int, str] = {**_PEOPLE.texts, **_LOG.texts}


@dataclass(frozen=True)
class Message:
    """A record as the client library hands it out."""

    of: TopicPartition
    at: int
    bytes_: tuple[bytes | None, bytes | None]

    def topic(self) -> str:
        return self.of.topic

    def partition(self) -> int:
        return self.of.partition

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.bytes_[0]

    def value(self) -> bytes | None:
        return self.bytes_[1]

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_000

    def headers(self) -> None:
        return None

    def error(self) -> None:
        return None

    def __len__(self) -> int:
        return sum(len(part or b"") for part in self.bytes_)


@dataclass
class History:
    """The log, and what must come of it.

    Attributes:
        log: records per partition; offsets have gaps.
        ends: the end of each partition, markers included.
        people: rows of ``people`` at the end, by id.
        notes: rows of ``log`` at the end.
        applied: offsets of the changes that have to be applied, each once.
        parked: offsets of the records that have to be parked.
        refused: those of them that the target refuses.
    """

    log: dict[TopicPartition, list[Message]] = field(default_factory=lambda: {P0: [], P1: [], L0: []})
    ends: dict[TopicPartition, int] = field(default_factory=lambda: dict(FIRST))
    people: dict[int, tuple[int, str]] = field(default_factory=dict)
    notes: Counter[tuple[int, str]] = field(default_factory=Counter)
    applied: defaultdict[TopicPartition, list[int]] = field(default_factory=lambda: defaultdict(list))
    parked: set[tuple[TopicPartition, int]] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)

    @property
    def changes(self) -> int:
        return sum(len(offsets) for offsets in self.applied.values())


Sent = tuple[TopicPartition, bytes | None, bytes | None]


class Writer:
    """Writes a history, transaction by transaction."""

    def __init__(self, seed: object) -> None:
        self._random = random.Random(f"history/{seed}")
        self.history = History()
        self._transaction = 0
        self._order = 0
        self._version = 0
        self._sent: list[list[Sent]] = []

    def write(self, transactions: int) -> History:
        for _ in range(transactions):
            self._transaction += 1
            self._order = 0
            self._sent.append([])
            if self._random.random() < 0.01:
                self._truncate()
            else:
                for _ in range(self._random.randint(1, 8)):
                    self._random.choice((self._put, self._put, self._delete, self._move, self._note))()
            if self._random.random() < 0.05:
                self._bad()
            self._end_transaction({sent[0] for sent in self._sent[-1]})
            if self._random.random() < 0.04:
                self._send_again()
        return self.history

    def _gtid(self) -> dict[str, Any]:
        self._order += 1
        return {"gtid": f"{UUID}:{self._transaction}", "order": self._order}

    def _append(self, to: TopicPartition, key: bytes | None, value: bytes | None) -> int:
        offset = self.history.ends[to]
        self.history.log[to].append(Message(to, offset, (key, value)))
        self.history.ends[to] = offset + 1
        return offset

    def _send(self, to: TopicPartition, key: bytes | None, value: bytes | None) -> int:
        self._sent[-1].append((to, key, value))
        return self._append(to, key, value)

    def _change(self, op: str, *, before: Row | None = None, after: Row | None = None) -> None:
        row = after or before or {}
        of = PEOPLE.envelope(op, before=before, after=after, **self._gtid())
        offset = self._send(_home(row["id"]), _PEOPLE.key(row), _PEOPLE.value(of))
        self.history.applied[_home(row["id"])].append(offset)

    def _row(self, number: int) -> Row:
        self._version += 1
        return {"id": number, "v": self._version, "t": f"v{self._version}"}

    def _held(self) -> Row | None:
        if not self.history.people:
            return None
        number = self._random.choice(sorted(self.history.people))
        version, text = self.history.people[number]
        return {"id": number, "v": version, "t": text}

    def _put(self) -> None:
        row = self._row(self._random.randint(1, 30))
        held = self.history.people.get(row["id"])
        before = None if held is None else {"id": row["id"], "v": held[0], "t": held[1]}
        self._change("c" if before is None else "u", before=before, after=row)
        self.history.people[row["id"]] = row["v"], row["t"]

    def _delete(self) -> None:
        held = self._held()
        if held is None:
            return
        del self.history.people[held["id"]]
        self._change("d", before=held)
        self._send(_home(held["id"]), _PEOPLE.key(held), None)

    def _move(self) -> None:
        """Change a key: a delete, a tombstone, a create."""
        held, number = self._held(), self._random.randint(1, 30)
        if held is None or number in self.history.people:
            return
        self._delete_of(held)
        self._change("c", after={**held, "id": number})
        self.history.people[number] = held["v"], held["t"]

    def _delete_of(self, held: Row) -> None:
        del self.history.people[held["id"]]
        self._change("d", before=held)
        self._send(_home(held["id"]), _PEOPLE.key(held), None)

    def _note(self) -> None:
        self._version += 1
        value, text = self._version % 5, "same"
        row = {"v": value, "t": text}
        offset = self._send(L0, None, _LOG.value(LOG.envelope("c", after=row, **self._gtid())))
        self.history.applied[L0].append(offset)
        self.history.notes[value, text] += 1

    def _truncate(self) -> None:
        gtid = self._gtid()["gtid"]
        self._send(L0, None, _LOG.value(LOG.envelope("t", gtid=gtid, order=None)))
        self.history.notes.clear()

    def _bad(self) -> None:
        """Write a record of a key of its own that is parked: not readable, or refused by the target."""
        number = 1_000_000 + self._transaction
        row = {"id": number, "v": 0, "t": POISON}
        to = _home(number)
        value = _PEOPLE.value(PEOPLE.envelope("c", after=row, **self._gtid()))
        if self._random.random() < 0.5:
            offset = self._append(to, _PEOPLE.key(row), value[:-3])
        else:
            offset = self._append(to, _PEOPLE.key(row), value)
            self.history.refused.add(offset)
        self.history.parked.add((to, offset))

    def _end_transaction(self, touched: set[TopicPartition]) -> None:
        for partition in touched:
            self.history.ends[partition] += 1  # the marker

    def _send_again(self) -> None:
        """Send the last few transactions once more, as a connector does that lost its position."""
        count = self._random.randint(1, 5)
        again = [sent for transaction in self._sent[-count:] for sent in transaction]
        for sent in again[: self._random.randint(1, len(again) or 1)]:
            self._append(*sent)
        self._end_transaction({sent[0] for sent in again})
        # A tombstone is not a change and changes nothing, however often it comes.


def _home(number: int) -> TopicPartition:
    return P1 if number % 2 else P0
