"""Where schema changes stand among the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from sinks.barriers import Barriers, refuse_divided_truncates
from sinks.change import Place, Progress, SchemaPosition, TopicPartition, Watermark
from sinks.envelope import Records, Routed, Stamp
from sinks.errors import FatalError
from sinks.mysql_ddl import read
from sinks.schema_changes import TableChange
from sinks.table_schema import Column, MysqlType, TableId, TableSchema
from sinks.targets.base import Truncate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

A, B = TableId("shop", "a"), TableId("shop", "b")
PA, PB = TopicPartition("cdc.shop.a", 0), TopicPartition("cdc.shop.b", 0)


@dataclass
class Scripted:
    """A schema-change topic as a list."""

    changes: list[TableChange] = field(default_factory=list)
    topic_id: str = "T"
    there: frozenset[TopicPartition] = frozenset({PA})
    at_end: dict[TopicPartition, int] = field(default_factory=dict)

    def start(self) -> None: ...

    def catch_up(self) -> None: ...

    def close(self) -> None: ...

    def of(self, topic: str) -> Sequence[TableChange]:
        return [c for c in self.changes if topic in {self.topic_of(table) for table in c.tables}]

    def topic_of(self, table: TableId) -> str:
        return f"cdc.{table}"

    def partitions(self, topics: Iterable[str]) -> frozenset[TopicPartition]:
        wanted = set(topics)
        return frozenset(p for p in self.there if p.topic in wanted)

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {p: self.at_end.get(p, 0) for p in partitions}


def alter(transaction: int, *, offset: int = 0, table: TableId = A, after: TableId | None = A) -> TableChange:
    schema = TableSchema(after, (Column("id", MysqlType("INT"), nullable=False),), ("id",)) if after else None
    place = Place(transaction, -100)
    return TableChange(offset, 50, "u", place, f"u:{transaction}", table, after, schema, read(""))


def records(partition: TopicPartition, transactions: Sequence[int], *, first: int = 0) -> Records:
    """Return records of these transactions, the number as value; 0 for one of a snapshot."""
    count = len(transactions)
    values = [str(number).encode() for number in transactions]
    return Records(partition, range(first, first + count), [b""] * count, values, [60] * count)


def stamps(of: Records) -> Iterator[Stamp]:
    for row, value in enumerate(of.values):
        number = int(value or b"0")
        yield Stamp(row, "u" if number else "", number, ("id",))


def barriers(scripted: Scripted, clock: Iterator[float] | None = None) -> Barriers:
    def everything(schema: TableSchema) -> Routed:
        return Routed(schema, tuple(range(len(schema.columns))))

    return Barriers(scripted, stamps, everything, clock=(lambda: next(clock)) if clock else lambda: 0.0)


def test_rows_before_a_change_go_first_and_those_after_it_wait() -> None:
    scripted = Scripted([alter(5)])
    plan = barriers(scripted).plan({PA: records(PA, [3, 4, 5, 6])}, {}, {PA: Progress(0)})
    assert (plan.changes, plan.take) == ([], {PA: 2})


def test_a_change_stands_before_the_first_row_of_a_later_transaction() -> None:
    scripted = Scripted([alter(5)])
    plan = barriers(scripted).plan({PA: records(PA, [6, 7], first=2)}, {}, {PA: Progress(2)})
    (change,) = plan.changes
    assert (change.table, change.offset, plan.take) == (A, 2, {})
    assert plan.progress[PA].schema == SchemaPosition("T", 1)


def test_rows_are_cut_at_the_next_change() -> None:
    scripted = Scripted([alter(5), alter(7, offset=1)])
    plan = barriers(scripted).plan({PA: records(PA, [5, 6, 7])}, {}, {PA: Progress(0)})
    assert (len(plan.changes), plan.take) == (1, {PA: 2})


def test_a_quiet_table_changes_once_it_is_read_to_its_end() -> None:
    scripted = Scripted([alter(5)], at_end={PA: 10})
    placed = barriers(scripted)
    assert not placed.plan({}, {}, {PA: Progress(9)}).changes
    assert not placed.plan({PA: records(PA, [4], first=9)}, {}, {PA: Progress(9)}).changes
    assert len(placed.plan({}, {PA: 10}, {PA: Progress(9)}).changes) == 1


def test_what_was_followed_or_is_sent_again_is_passed_over() -> None:
    scripted = Scripted([alter(5), alter(5, offset=1)])
    followed = Progress(0, schema=SchemaPosition("T", 2))
    replayed = Progress(0, Watermark({"u": Place(5, 0)}))
    for progress in (followed, replayed):
        assert not barriers(scripted).is_due({PA: progress})
        assert not barriers(scripted).plan({PA: records(PA, [6])}, {}, {PA: progress}).changes


def test_a_change_of_another_topic_id_is_not_taken_for_followed() -> None:
    scripted = Scripted([alter(5)])
    assert barriers(scripted).is_due({PA: Progress(0, schema=SchemaPosition("older", 9))})


@pytest.mark.parametrize(("written", "before"), [(49, 1), (50, 0), (51, 0)])
def test_rows_of_a_snapshot_are_placed_by_when_they_were_written(written: int, before: int) -> None:
    of = records(PA, [0, 6])
    of = Records(of.partition, of.offsets, of.keys, of.values, [written, 60])
    plan = barriers(Scripted([alter(5)])).plan({PA: of}, {}, {PA: Progress(0)})
    assert (len(plan.changes), plan.take.get(PA, 0)) == (0 if before else 1, before)


def test_a_rename_waits_for_both_tables() -> None:
    scripted = Scripted([alter(5, after=B)], there=frozenset({PA, PB}), at_end={PA: 3})
    placed = barriers(scripted)
    later = {PB: records(PB, [6])}
    plan = placed.plan({PA: records(PA, [3, 4]), **later}, {}, {PA: Progress(1), PB: Progress(0)})
    assert (plan.changes, plan.take, plan.held) == ([], {PB: 0}, {PB})
    plan = placed.plan(later, {}, {PA: Progress(3), PB: Progress(0)})
    (change,) = plan.changes
    assert (change.table, change.after, change.partition) == (A, B, PB)
    assert set(plan.progress) == {PA, PB}
    assert not plan.take


def test_a_partition_that_comes_later_passes_what_its_siblings_have_passed() -> None:
    scripted = Scripted([alter(5, after=B)], there=frozenset({PA, PB}))
    passed = Progress(3, schema=SchemaPosition("T", 1))
    plan = barriers(scripted).plan({PB: records(PB, [6])}, {}, {PA: passed, PB: Progress(0)})
    assert not plan.changes
    assert set(plan.progress) == {PB}


def test_partitions_of_another_worker_are_refused_with_a_reason() -> None:
    times = iter([0.0, 0.0, 0.0, 100.0, 100.0, 100.0])
    placed = barriers(Scripted([alter(5, after=B)], there=frozenset({PA, PB})), times)
    assert not placed.plan({}, {}, {PA: Progress(0)}).changes
    with pytest.raises(FatalError, match="not all read by this worker"):
        placed.plan({}, {}, {PA: Progress(0)})


def test_a_truncate_among_several_partitions_is_refused_with_a_reason() -> None:
    truncate = Truncate(A, PA, 7)
    refuse_divided_truncates([truncate], {PA: 1})
    with pytest.raises(FatalError, match=r"topic of 3 partitions.*cdc.shop.a-0@7.*one partition"):
        refuse_divided_truncates([truncate], {PA: 3})
