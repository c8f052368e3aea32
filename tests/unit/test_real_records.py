"""Records that Debezium 3.6.1 and the Avro converter really wrote, for MySQL 9.7."""

from __future__ import annotations

import base64
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sinks.change import Place, Progress
from sinks.envelope import ChangeReader, Changes, Records
from sinks.targets.base import RowChanges, Truncate
from sinks.wire.confluent_avro import ConfluentAvro
from tests.debezium import AvroRecords
from tests.records import PARTITION, every_column
from tests.tables import EVERYTHING

WRITTEN: Any = json.loads(
    (Path(__file__).parent / "data" / "debezium_3_6_1.json").read_text(encoding="utf-8")
)


def changes() -> Changes:
    pairs = [
        [None if part is None else base64.b64decode(part) for part in pair] for pair in WRITTEN["records"]
    ]
    wire = ConfluentAvro(lambda schema_id: json.dumps(WRITTEN["schemas"][str(schema_id)]))
    records = Records(PARTITION, range(len(pairs)), [key for key, _ in pairs], [value for _, value in pairs])
    return ChangeReader(wire, every_column).read(records, Progress(0))


def test_all_of_it_is_read() -> None:
    read = changes()
    assert read.rejections == []
    assert read.progress.counts == {"c": 4, "u": 1, "d": 2, "tombstone": 2, "t": 1}
    assert [*read.progress.watermark.places.values()] == [Place(41, 0)]
    assert [type(segment) for segment in read.segments] == [RowChanges, RowChanges, Truncate]


def test_values_at_their_bounds() -> None:
    segment = changes().segments[0]
    assert isinstance(segment, RowChanges)
    names = [column.name for column in segment.schema.columns]
    row = dict(zip(names, segment.frame.row(0)[3:], strict=True))
    assert row["t_ubig"] == 2**64 - 1
    assert row["t_big"] == 2**63 - 1
    assert row["t_dec"] == "9" * 35 + "." + "9" * 30
    assert row["t_date"] == date(9999, 12, 31)
    assert row["t_time6"] == -3_020_399_000_000
    assert row["t_dt6"] == datetime(1000, 1, 1, 0, 0, 0, 1)  # noqa: DTZ001  (MySQL's DATETIME has no time zone)
    assert row["t_bit10"] == b"\xaa\x02"
    assert row["t_enum"] == "b,c"
    assert row["t_vector"] == [1.0, 2.5, -3.0]
    assert row["odd-näme"] == 7
    nulls = dict(zip(names, segment.frame.row(1)[3:], strict=True))
    assert {name for name, value in nulls.items() if value is not None} == {"id", "odd-näme"}


def test_the_tests_own_records_are_like_these() -> None:
    real = {f["name"]: f for f in WRITTEN["schemas"]["32"]["fields"]}
    schema: Any = AvroRecords(EVERYTHING).value_schema
    ours = {f["name"]: f for f in schema["fields"]}
    assert ours.keys() == real.keys()
    columns = {f["name"]: _shape(f) for f in real["before"]["type"][1]["fields"]}
    # Theirs say more of ENUM and SET, of geometries and of Connect's own types; none of it matters.
    assert {
        f["name"]: _shape(f) for f in ours["before"]["type"][1]["fields"] if f["name"] != "odd_u002dn_u00e4me"
    }.items() <= columns.items()
    for name in ("source", "transaction", "op"):
        assert _shape(ours[name]) == _shape(real[name])


def _shape(schema: Any) -> Any:  # noqa: ANN401  (parsed JSON)
    """Keep of a schema what the sinks look at, and what the bytes depend on."""
    if isinstance(schema, list):
        return [_shape(of) for of in schema]
    if not isinstance(schema, dict):
        return schema
    kept: Any = {
        of: _shape(schema[of])
        for of in ("type", "name", "fields", "items", "connect.name", "connect.parameters", "logicalType")
        if of in schema
    }
    if "source.column" in str(kept.get("connect.parameters")):
        kept["connect.parameters"] = {
            of: text for of, text in kept["connect.parameters"].items() if of.startswith("__debezium")
        }
    else:
        kept.pop("connect.parameters", None)
    if kept.get("connect.name") == "io.debezium.data.Enum" and "connect.parameters" not in kept:
        kept.pop("connect.name")
    return kept["type"] if kept.keys() == {"type"} else kept
