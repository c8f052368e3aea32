"""10,000 malformed records of 20 kinds among good ones, by a seed: all are parked, no good one is lost."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sinks.change import Progress
from sinks.envelope import ChangeReader, Records
from sinks.errors import RejectedError
from sinks.targets.base import Batch, RowChanges
from sinks.targets.memory import MemoryTarget
from sinks.wire.confluent_avro import ConfluentAvro
from tests.contract.worker import Worker
from tests.debezium import UUID, AvroRecords
from tests.records import PARTITION, every_column
from tests.tables import PLAIN, SIMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = 20_261_123
MALFORMED = 10_000
GOOD = 30_000
KEYS = 3_000
BATCH = 2_000
AVRO = AvroRecords(SIMPLE)
NAMELESS = replace(SIMPLE, name=None)  # type: ignore[arg-type]

Value = bytes | None
Raw = tuple[Value, Value]


BASE = 2_000_000
"""Numbers from here on are all equally long in Avro, so that records are made from one by replacing bytes."""


def row(number: int, name: str = "n") -> dict[str, Any]:
    return {**PLAIN, "id": BASE + number, "name": name}


def varint(number: int) -> bytes:
    written, left = bytearray(), number << 1
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*written, left])


def _template() -> tuple[bytes, bytes]:
    envelope = SIMPLE.envelope(
        "u", before=row(900_001), after=row(900_001, "v0000077"), gtid=f"{UUID}:1", order=BASE + 900_002
    )
    return AVRO.key(row(900_001)) or b"", AVRO.value(envelope)


KEY, VALUE = _template()


def good(number: int, order: int, name: str) -> tuple[bytes, bytes]:
    of, to = varint(BASE + 900_001), varint(BASE + number)
    value = VALUE.replace(of, to).replace(varint(BASE + 900_002), varint(BASE + order))
    return KEY.replace(of, to), value.replace(b"v0000077", name.encode())


def schema_text(schema_id: int) -> str:
    if schema_id not in AVRO.texts:
        raise RejectedError(f"schema id {schema_id} is not known")
    return AVRO.texts[schema_id]


def odd(op: str, **images: Any) -> bytes:  # noqa: ANN401 (rows)
    return AVRO.value(SIMPLE.envelope(op, gtid=f"{UUID}:1", order=1, **images))


KINDS: dict[str, Callable[[int, bytes, bytes], Raw]] = {
    "cut short": lambda _, k, v: (k, v[:-1]),
    "cut in the middle": lambda _, k, v: (k, v[: len(v) // 2]),
    "a byte too many": lambda _, k, v: (k, v + b"\0"),
    "a record too many": lambda _, k, v: (k, v + v[5:]),
    "no bytes": lambda _, k, __: (k, b""),
    "one byte": lambda _, k, __: (k, b"\0"),
    "header only": lambda _, k, v: (k, v[:5]),
    "wrong magic": lambda _, k, v: (k, b"\1" + v[1:]),
    "unknown schema": lambda _, k, v: (k, b"\0\0\0\x27\x0f" + v[5:]),
    "schema of the key": lambda _, k, v: (k, k[:5] + v[5:]),
    "JSON": lambda _, k, __: (k, b'{"before": null}'),
    "text": lambda _, k, __: (k, b"hello"),
    "a hole in it": lambda _, k, v: (k, v[:20] + v[24:]),
    "all bits set": lambda _, k, v: (k, v[:5] + b"\xff" * (len(v) - 5)),
    "unknown operation": lambda n, k, _: (k, odd("z", before=row(n), after=row(n))),
    "an update without its row": lambda n, k, _: (k, odd("u", before=row(n))),
    "a delete without its row": lambda _, k, __: (k, odd("d")),
    "no table": lambda n, k, _: (
        k,
        AVRO.value(NAMELESS.envelope("c", after=row(n), gtid=f"{UUID}:1", order=1)),
    ),
    "key and value unreadable": lambda n, _, __: (b"key-%d" % n, b"value"),
    "no key and no value to read": lambda _, __, ___: (None, b"stranger"),
}


def test_every_malformed_record_is_parked_and_every_good_one_is_applied_or_waits_for_its_key() -> None:
    dice = random.Random(SEED)
    assert len(KINDS) == 20
    plan = [*[""] * GOOD, *(kind for kind in KINDS for _ in range(MALFORMED // len(KINDS)))]
    dice.shuffle(plan)
    raw: list[Raw] = []
    bad: set[int] = set()
    latest: dict[int, str] = {}
    poisoned: dict[int, int] = {}
    followers: set[int] = set()
    for offset, kind in enumerate(plan):
        number = dice.randrange(KEYS) if not kind else KEYS // 2 + dice.randrange(KEYS)
        key, value = good(number, offset + 1, f"v{offset:07}")
        if not kind:
            raw.append((key, value))
            if number in poisoned:
                followers.add(offset)
            else:
                latest[number] = f"v{offset:07}"
            continue
        raw.append(KINDS[kind](number, key, value))
        bad.add(offset)
        if raw[-1][0] == key:
            poisoned.setdefault(number, offset)

    target = MemoryTarget("memory")
    worker = Worker(target, (PARTITION,))
    reader = ChangeReader(ConfluentAvro(schema_text), every_column)
    progress = Progress(0)
    for start in range(0, len(raw), BATCH):
        part = raw[start : start + BATCH]
        offsets = range(start, start + len(part))
        changes = reader.read(
            Records(PARTITION, offsets, [key for key, _ in part], [value for _, value in part]), progress
        )
        progress = changes.progress
        worker.target.apply(Batch(changes.segments, {PARTITION: progress}, changes.rejections), worker.park)

    assert len(bad) == MALFORMED
    reasons = {rejection.offset: rejection.reason for rejection in worker.parked}
    assert len(reasons) == len(worker.parked)
    missing = (bad | followers) - set(reasons)
    assert not missing, {plan[offset] for offset in missing}
    assert set(reasons) == bad | followers
    assert all(reasons[offset].startswith("follows") for offset in followers)
    (table,) = {of.table for b in target.batches for of in b.segments if isinstance(of, RowChanges)}
    assert {r["id"] - BASE: r["name"] for r in target.rows(table)} == latest
    assert sum(held.letters for held in target.parked()) == len(bad | followers)
