from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.envelope import ChangeReader
from sinks.targets.base import RowChanges, Truncate
from sinks.wire.connect_json import ConnectJson
from tests.debezium import AvroRecords, JsonRecords, Table
from tests.records import avro_reader, envelopes, every_column, read, tables, written
from tests.tables import EVERYTHING, FULL, KEYLESS, NULLS

ROWS = st.lists(st.sampled_from([FULL, NULLS]), min_size=1, max_size=4)


def assert_wires_agree(table: Table, changes: list[dict[str, object]]) -> None:
    avro, as_json = AvroRecords(table), JsonRecords(table)
    one = read(avro_reader(avro), written(avro, table, changes))
    two = read(ChangeReader(ConnectJson(), every_column), written(as_json, table, changes))
    assert one.rejections == two.rejections == []
    assert one.progress == two.progress
    for left, right in zip(one.segments, two.segments, strict=True):
        if isinstance(left, Truncate):
            assert left == right
        else:
            assert isinstance(left, RowChanges)
            assert isinstance(right, RowChanges)
            assert left.schema == right.schema
            # The key's bytes are each wire's own.
            frames = [segment.frame.drop("key") for segment in (left, right)]
            assert frames[0].schema == frames[1].schema
            assert repr(frames[0].to_dicts()) == repr(frames[1].to_dicts())


def test_a_table_of_every_type_at_its_bounds() -> None:
    changes = [
        EVERYTHING.envelope("r", after=NULLS, gtid=None, order=None, snapshot="last"),
        EVERYTHING.envelope("c", after=FULL, order=1),
        EVERYTHING.envelope("u", before=FULL, after=NULLS, order=2),
        EVERYTHING.envelope("t", order=None, gtid="00000000:2"),
        EVERYTHING.envelope("d", before=NULLS, gtid="00000000:3"),
    ]
    assert_wires_agree(EVERYTHING, changes)


def test_a_table_without_a_key() -> None:
    row = {"id": 1, "name": "n"}
    changes = [
        KEYLESS.envelope("c", after=row, order=1),
        KEYLESS.envelope("u", before=row, after={**row, "name": None}, order=2),
    ]
    assert_wires_agree(KEYLESS, changes)


@settings(max_examples=25)
@given(st.data())
def test_any_table_and_changes(data: st.DataObject) -> None:
    table = data.draw(tables(EVERYTHING.columns))
    assert_wires_agree(table, data.draw(envelopes(table, most=4)))
