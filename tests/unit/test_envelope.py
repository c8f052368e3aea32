from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.change import Place, Progress, TopicPartition, Watermark
from sinks.envelope import ChangeReader, Changes, Records, Routed
from sinks.errors import FatalError
from sinks.table_schema import TableId
from sinks.targets.base import RowChanges, Truncate
from sinks.wire.confluent_avro import ConfluentAvro
from tests.debezium import UUID, AvroRecords
from tests.records import PARTITION, avro_reader, every_column
from tests.tables import KEYLESS, PLAIN, SIMPLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.debezium import Envelope

AVRO = AvroRecords(SIMPLE)
BARE = AvroRecords(KEYLESS, value_id=4)
OTHER = "8e2f0000-e77b-11f1-bd79-02fc00000001"


def row(number: int, name: str = "n") -> dict[str, Any]:
    return {**PLAIN, "id": number, "name": name}


def record(
    op: str,
    number: int = 1,
    gtid: str | None = f"{UUID}:1",
    order: int | None = 1,
    *,
    name: str = "n",
    source_ms: int = 1,
    snapshot: str | None = None,
) -> tuple[bytes | None, bytes | None]:
    """Return a record of the table with a key; op ``x`` is a tombstone."""
    if op == "x":
        return AVRO.key(row(number)), None
    change = SIMPLE.envelope(
        op,
        before=row(number) if op in "ud" else None,
        after=row(number, name) if op in "cru" else None,
        gtid=gtid,
        order=None if op == "t" else order,
        source_ms=source_ms,
        snapshot=snapshot,
    )
    return None if op == "t" else AVRO.key(row(number)), AVRO.value(change)


def records(*pairs: tuple[bytes | None, bytes | None], first: int = 0, gap: int = 1) -> Records:
    offsets = range(first, first + gap * len(pairs), gap)
    return Records(PARTITION, offsets, [key for key, _ in pairs], [value for _, value in pairs])


def read(
    *pairs: tuple[bytes | None, bytes | None], progress: Progress | None = None, first: int = 0
) -> Changes:
    return avro_reader(AVRO, BARE).read(records(*pairs, first=first), progress or Progress(0))


def applied(changes: Changes) -> list[tuple[Any, ...]]:
    """Return what is to be applied, in order: (offset, deleted, key, values of the row), or a truncate."""
    found: list[tuple[Any, ...]] = []
    for segment in changes.segments:
        if isinstance(segment, RowChanges):
            found += segment.frame.rows()
        else:
            found.append((segment.offset, segment.table))
    return found


def ids(changes: Changes) -> list[tuple[int, bool, int]]:
    return [(offset, deleted, number) for offset, deleted, _, number, *_ in applied(changes)]


def test_nothing_read_changes_nothing() -> None:
    progress = Progress(7, counts={"c": 1})
    assert read(progress=progress).progress is progress


def test_changes_become_rows_in_log_order() -> None:
    changes = read(record("c", 1), record("u", 1, order=2, name="new"), record("d", 2, order=3))
    (segment,) = changes.segments
    assert isinstance(segment, RowChanges)
    assert segment.frame.columns == ["offset", "deleted", "key", *(f"c{n}" for n in range(8))]
    keys = [AVRO.key(row(n)) or b"" for n in (1, 1, 2)]
    assert segment.frame["key"].to_list() == [key[5:] for key in keys]  # without the schema's id
    assert ids(changes) == [(0, False, 1), (1, False, 1), (2, True, 2)]
    assert segment.frame["c1"].to_list() == ["n", "new", "n"]
    assert (segment.schema.table, segment.schema.key) == (TableId("shop", "orders"), ("id",))
    assert segment.last["offset"].to_list() == [1, 2]


def test_progress_says_how_far_and_how_many() -> None:
    changes = read(
        record("r", 1, gtid=None, order=None),
        record("c", 2, source_ms=5),
        record("u", 2, order=2),
        record("d", 2, order=3),
        record("x", 2),
        record("t", gtid=f"{UUID}:2"),
        record("c", 3, gtid=f"{UUID}:3", source_ms=9),
        progress=Progress(0, counts={"c": 10, "parked": 1}),
    )
    assert changes.rejections == []
    assert changes.progress == Progress(
        next_offset=7,
        watermark=Watermark({UUID: Place(3, 1)}),
        gtid=f"{UUID}:3",
        source_ms=9,
        counts={"r": 1, "c": 12, "u": 1, "d": 1, "t": 1, "tombstone": 1, "parked": 1},
    )


def test_offsets_may_have_gaps() -> None:
    pairs = [record("c", 1), record("x", 1), record("c", 2, order=2)]
    changes = avro_reader(AVRO).read(records(*pairs, first=10, gap=5), Progress(3))
    assert ids(changes) == [(10, False, 1), (20, False, 2)]
    assert changes.progress.next_offset == 21


@pytest.mark.parametrize("offsets", [[4, 5], [5, 5], [6, 8, 7], [5, 6, 4]])
def test_offsets_that_go_back_stop_the_worker(offsets: list[int]) -> None:
    pair = record("x")
    with pytest.raises(FatalError, match=r"was read again.*\[cdc\.shop\.everything-0\]"):
        avro_reader(AVRO).read(
            Records(PARTITION, offsets, [pair[0]] * len(offsets), [None] * len(offsets)), Progress(5)
        )


def test_a_replay_is_dropped_and_counted() -> None:
    progress = Progress(5, Watermark({UUID: Place(7, 2)}), f"{UUID}:7", 3)
    changes = read(
        record("c", 1, f"{UUID}:6", 9),
        record("c", 2, f"{UUID}:7", 1),
        record("c", 3, f"{UUID}:7", 2),
        record("c", 4, f"{UUID}:7", 3),
        record("c", 5, f"{UUID}:8", 1),
        progress=progress,
        first=5,
    )
    assert [number for _, _, number in ids(changes)] == [4, 5]
    assert changes.progress.counts == {"replay": 3, "c": 2}
    assert changes.progress.watermark == Watermark({UUID: Place(8, 1)})


def test_nothing_but_replays_moves_only_the_offset() -> None:
    progress = Progress(5, Watermark({UUID: Place(7, 2)}), f"{UUID}:7", 3)
    changes = read(record("c", 1, f"{UUID}:7", 1), record("c", 1, f"{UUID}:7", 2), progress=progress, first=5)
    assert changes.segments == []
    assert changes.progress == replace(progress, next_offset=7, counts={"replay": 2})


def test_a_replay_within_a_batch_is_dropped() -> None:
    changes = read(
        record("c", 1, f"{UUID}:1", 1),
        record("c", 2, f"{UUID}:1", 2),
        record("c", 1, f"{UUID}:1", 1),
        record("c", 2, f"{UUID}:1", 2),
        record("c", 3, f"{UUID}:2", 1),
    )
    assert [number for _, _, number in ids(changes)] == [1, 2, 3]
    assert changes.progress.counts == {"replay": 2, "c": 3}


def test_sources_and_tags_each_have_their_own_place() -> None:
    tagged = f"{UUID}:blue"
    changes = read(
        record("c", 1, f"{UUID}:9"),
        record("c", 2, f"{OTHER}:2"),
        record("c", 3, f"{tagged}:1"),
        record("c", 4, f"{UUID}:9", 2),
        record("c", 5, f"{OTHER}:1"),
        record("c", 6, f"{tagged}:1"),
        record("c", 7, f"{tagged}:2"),
    )
    assert [number for _, _, number in ids(changes)] == [1, 2, 3, 4, 7]
    assert changes.progress.watermark.places == {UUID: Place(9, 2), OTHER: Place(2, 1), tagged: Place(2, 1)}
    assert changes.progress.gtid == f"{tagged}:2"


def test_snapshot_rows_are_never_dropped_and_never_move_the_watermark() -> None:
    progress = Progress(0, Watermark({UUID: Place(7, 2)}), f"{UUID}:7")
    changes = read(
        record("r", 1, f"{UUID}:3", 1, snapshot="incremental"),
        record("r", 2, gtid=None, order=None, snapshot="first"),
        record("r", 3, f"{UUID}:9", None, snapshot="last"),
        progress=progress,
    )
    assert [number for _, _, number in ids(changes)] == [1, 2, 3]
    assert (changes.progress.watermark, changes.progress.gtid) == (progress.watermark, progress.gtid)
    assert changes.progress.counts == {"r": 3}


def test_a_truncate_is_a_barrier() -> None:
    changes = read(
        record("c", 1, f"{UUID}:1"),
        record("t", gtid=f"{UUID}:2"),
        record("c", 2, f"{UUID}:3"),
        record("t", gtid=f"{UUID}:4"),
        record("t", gtid=f"{UUID}:5"),
    )
    assert [type(segment) for segment in changes.segments] == [
        RowChanges,
        Truncate,
        RowChanges,
        Truncate,
        Truncate,
    ]
    assert [of[0] for of in applied(changes)] == [0, 1, 2, 3, 4]
    assert changes.segments[1] == Truncate(TableId("shop", "orders"), PARTITION, 1)


def test_a_truncate_can_be_a_replay() -> None:
    progress = Progress(0, Watermark({UUID: Place(2, 0)}))
    changes = read(record("t", gtid=f"{UUID}:2"), progress=progress)
    assert changes.segments == []
    assert changes.progress.counts == {"replay": 1}


def test_a_changed_key_is_a_delete_and_a_create() -> None:
    changes = read(record("d", 1, order=1), record("x", 1), record("c", 2, order=2))
    assert ids(changes) == [(0, True, 1), (2, False, 2)]


def test_an_update_without_a_key_is_two_rows_in_order() -> None:
    old, new = row(1, "old"), row(1, "new")
    values = [
        KEYLESS.envelope("c", after=old, order=1),
        KEYLESS.envelope("u", before=old, after=new, order=2),
        KEYLESS.envelope("d", before=new, order=3),
    ]
    changes = read(*((None, BARE.value(value)) for value in values))
    assert [(of[:3], of[4]) for of in applied(changes)] == [
        ((0, False, b""), "old"),
        ((1, True, b""), "old"),
        ((1, False, b""), "new"),
        ((2, True, b""), "new"),
    ]


def test_two_tables_in_one_topic_by_schema_and_by_source() -> None:
    as_orders = AVRO.value(SIMPLE.envelope("c", after=row(1), order=1))
    as_archive = AVRO.value(replace(SIMPLE, name="archive").envelope("c", after=row(2), order=2))
    as_log = BARE.value(KEYLESS.envelope("c", after=row(3), order=3))
    key = AVRO.key(row(1))
    changes = read((key, as_orders), (key, as_archive), (key, as_orders), (None, as_log), (key, as_archive))
    tables = [segment.schema.table.name for segment in changes.segments if isinstance(segment, RowChanges)]
    assert tables == ["orders", "archive", "log"]
    assert changes.progress.counts == {"c": 3, "replay": 2}


def test_a_table_that_the_sink_does_not_take_moves_progress() -> None:
    reader = ChangeReader(ConfluentAvro(AVRO.texts.__getitem__), lambda _: None)
    changes = reader.read(records(record("c", 1)), Progress(0))
    assert changes.segments == []
    assert changes.progress.watermark == Watermark({UUID: Place(1, 1)})


def test_only_the_columns_that_the_sink_takes() -> None:
    def route(schema: Any) -> Routed:  # noqa: ANN401
        return Routed(replace(schema, columns=(schema.columns[0], schema.columns[3])), (0, 3))

    reader = ChangeReader(ConfluentAvro(AVRO.texts.__getitem__), route)
    (segment,) = reader.read(records(record("c", 5)), Progress(0)).segments
    assert isinstance(segment, RowChanges)
    assert dict(segment.frame.schema) == {
        "offset": pl.Int64,
        "deleted": pl.Boolean,
        "key": pl.Binary,
        "c0": pl.Int64,
        "c1": pl.Datetime("us"),
    }


@pytest.mark.parametrize(
    ("gtid", "order", "hint"),
    [(None, 1, "gtid_mode=ON"), (f"{UUID}:1", None, "provide.transaction"), ("nonsense", 1, "gtid_mode=ON")],
)
def test_a_change_without_identity_stops_the_worker(gtid: str | None, order: int | None, hint: str) -> None:
    with pytest.raises(FatalError, match=hint):
        read(record("c", 1), record("c", 2, gtid, order))


def test_what_cannot_be_decoded_is_named_and_the_rest_goes_on() -> None:
    good = [record("c", n, order=n) for n in range(1, 5)]
    key, value = good[1]
    assert value is not None
    changes = read(good[0], (key, value[:-1]), good[2], (key, b"?"), (key, b"\0\0\0\0\2\0"), good[3])
    assert [(of.partition, of.offset) for of in changes.rejections] == [(PARTITION, n) for n in (1, 3, 4)]
    assert ids(changes) == [(0, False, 1), (2, False, 3), (5, False, 4)]
    assert changes.progress.counts == {"parked": 3, "c": 3}
    assert changes.progress.next_offset == 6


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (SIMPLE.envelope("d"), "without its row"),
        (SIMPLE.envelope("c", before=PLAIN), "without its row"),
        (SIMPLE.envelope("u", before=PLAIN), "without its row"),
        (SIMPLE.envelope("r", gtid=None, order=None), "without its row"),
        (SIMPLE.envelope("m", after=PLAIN), "no operation that is known"),
        (replace(SIMPLE, name=None).envelope("c", after=PLAIN), "names no table"),  # type: ignore[arg-type]
    ],
)
def test_a_change_that_does_not_say_what_became_of_which_row_is_parked(
    envelope: Envelope, reason: str
) -> None:
    changes = read((AVRO.key(PLAIN), AVRO.value(envelope)), record("c", 2, order=2))
    (rejection,) = changes.rejections
    assert reason in rejection.reason
    assert rejection.offset == 0
    assert ids(changes) == [(1, False, 2)]


def test_an_update_of_a_table_with_a_key_needs_no_row_before_it() -> None:
    value = AVRO.value(SIMPLE.envelope("u", after=row(1, "new")))
    assert ids(read((AVRO.key(row(1)), value))) == [(0, False, 1)]


def test_an_update_of_a_table_without_a_key_needs_the_row_before_it() -> None:
    changes = read((None, BARE.value(KEYLESS.envelope("u", after=row(1)))))
    assert changes.segments == []
    assert "without its row" in changes.rejections[0].reason


LOG = st.lists(
    st.tuples(
        st.sampled_from("cccuudrxtb"),
        st.integers(1, 4),
        st.sampled_from([UUID, OTHER, f"{UUID}:blue"]),
        st.integers(1, 3),
        st.integers(1, 3),
    ),
    max_size=14,
)


def log_of(drawn: Sequence[tuple[str, int, str, int, int]]) -> list[tuple[bytes | None, bytes | None]]:
    return [
        (b"?", b"?") if op == "b" else record(op, number, f"{source}:{transaction}", order)
        for op, number, source, transaction, order in drawn
    ]


@settings(max_examples=60)
@given(LOG, st.sets(st.integers(0, 14)))
def test_however_a_log_is_split_it_comes_to_the_same(drawn: Any, cuts: set[int]) -> None:  # noqa: ANN401
    log = log_of(drawn)
    at_once = read(*log)
    reader, progress = avro_reader(AVRO), Progress(0)
    rows: list[Any] = []
    rejections: list[Any] = []
    for start, end in pairwise(sorted({0, len(log), *(cut for cut in cuts if cut < len(log))})):
        part = reader.read(records(*log[start:end], first=start), progress)
        progress = part.progress
        rows += applied(part)
        rejections += part.rejections
    assert rows == applied(at_once)
    assert rejections == at_once.rejections
    assert progress == at_once.progress


@settings(max_examples=60)
@given(st.integers(1, 9), st.data())
def test_what_the_connector_sends_again_changes_nothing(length: int, data: st.DataObject) -> None:
    log = [record("c", n, f"{UUID}:{n // 3 + 1}", n % 3 + 1) for n in range(length)]
    sent = list(range(length))
    for _ in range(data.draw(st.integers(1, 3))):
        # A restart: from an earlier place on, all that was sent comes again.
        end = data.draw(st.integers(1, len(sent)))
        again = data.draw(st.integers(0, sent[end - 1]))
        sent = [*sent[:end], *range(again, length)]
    changes = read(*(log[n] for n in sent))
    assert [number for _, _, number in ids(changes)] == list(range(length))
    assert changes.progress.watermark == read(*log).progress.watermark
    assert changes.progress.counts.get("replay", 0) == len(sent) - length


def test_records_of_other_partitions_keep_their_name() -> None:
    elsewhere = TopicPartition("cdc.shop.orders", 3)
    key, value = record("c", 1)
    reader = ChangeReader(ConfluentAvro(AVRO.texts.__getitem__), every_column)
    changes = reader.read(Records(elsewhere, [9], [key], [value]), Progress(9))
    assert [segment.partition for segment in changes.segments] == [elsewhere]
