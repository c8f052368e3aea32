"""No row is lost, whatever the order of commits, and the order within an aggregate is kept."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest

from sinks.errors import ConfigError
from sinks.outbox import Event, publish
from tests.outbox.conftest import drain, event

if TYPE_CHECKING:
    from sinks.outbox.relay import Mode
    from tests.outbox.conftest import MakeRelay, Outbox
    from tests.outbox.topics import Reader

pytestmark = pytest.mark.timeout(300)
both_modes = pytest.mark.parametrize("mode", ["status", "last-id"])


@both_modes
def test_commits_out_of_id_order(outbox: Outbox, reader: Reader, make_relay: MakeRelay, mode: Mode) -> None:
    """Ids 1, 2 and 3 are taken; 3 commits, then 1, and 2 is rolled back."""
    first, rolled_back, last = (event(key) for key in "abc")
    relay = make_relay(mode)
    slow, doomed, fast = (outbox.connect() for _ in range(3))
    for connection, one in ((slow, first), (doomed, rolled_back), (fast, last)):
        with connection.cursor() as cursor:
            publish(cursor, one)
    fast.commit()
    drain(relay)
    assert [got.id for got in reader.wait(1)] == [last.id]
    drain(relay)
    doomed.rollback()
    drain(relay)
    slow.commit()
    drain(relay)
    assert [got.id for got in reader.wait(2)] == [last.id, first.id]
    outbox.publish(final := event("d"))
    drain(relay)
    assert [got.id for got in reader.wait(3)] == [last.id, first.id, final.id]
    drain(relay)
    if mode == "last-id":
        assert outbox.query("SELECT last_id, gaps FROM outbox_relay") == [(4, "[]")]


@both_modes
def test_a_savepoint_and_a_bulk_insert_leave_ids_unused(
    outbox: Outbox, reader: Reader, make_relay: MakeRelay, mode: Mode
) -> None:
    relay = make_relay(mode)
    connection = outbox.connect()
    with connection.cursor() as cursor:
        publish(cursor, kept := event("a"))
        cursor.execute("SAVEPOINT s")
        publish(cursor, *(event("a", n) for n in range(5)))
        outbox.publish(other := event("b"))
        drain(relay)
        cursor.execute("ROLLBACK TO SAVEPOINT s")
        drain(relay)
        assert [got.id for got in reader.wait(1)] == [other.id]
        publish(cursor, late := event("a", 9))
        connection.commit()
    drain(relay)
    assert sorted(got.id for got in reader.wait(3)) == sorted([kept.id, other.id, late.id])
    assert reader.ids("a") == [kept.id, late.id]


@both_modes
def test_writers_interleaved_at_random(
    outbox: Outbox, reader: Reader, make_relay: MakeRelay, mode: Mode
) -> None:
    """Seed 20: 30 transactions over 5 aggregates, up to 6 open at once, a fifth of them rolled back."""
    draw = random.Random(20)
    relay = make_relay(mode, batch_records=7)
    open_: list[tuple[str, list[Event]]] = []
    pool = [outbox.connect() for _ in range(6)]
    committed: dict[str, list[str]] = {key: [] for key in "abcde"}
    for _ in range(200):
        busy = {key for key, _ in open_}
        if len(open_) < len(pool) and draw.random() < 0.5 and len(busy) < len(committed):
            key = draw.choice([key for key in committed if key not in busy])  # as its row's lock would
            events = [event(key, n) for n in range(draw.randint(1, 4))]
            with pool[len(open_)].cursor() as cursor:
                publish(cursor, *events)
            open_.append((key, events))
        elif open_:
            at = draw.randrange(len(open_))
            key, events = open_[at]
            if draw.random() < 0.2:
                pool[at].rollback()
            else:
                pool[at].commit()
                committed[key] += [one.id for one in events]
            open_.pop(at)
            pool.insert(5, pool.pop(at))
        if draw.random() < 0.7:
            relay.once()
    for at in range(len(open_)):
        pool[at].rollback()
    drain(relay)
    reader.wait(sum(map(len, committed.values())))
    assert {key: reader.ids(key) for key in committed} == committed


def test_several_relays_at_once(outbox: Outbox, reader: Reader, make_relay: MakeRelay) -> None:
    """Three relays and two writers: each event once, each aggregate in order."""
    relays = [make_relay(batch_records=50, poll_seconds=0.01) for _ in range(3)]
    threads = [threading.Thread(target=relay.run) for relay in relays]
    for thread in threads:
        thread.start()
    wanted: dict[str, list[str]] = {}

    def write(name: str) -> None:
        connection = outbox.connect()
        for n in range(60):
            events = [event(f"{name}{key}", n) for key in range(20)]
            for one in events:
                wanted.setdefault(one.aggregate_id, []).append(one.id)
            with connection.cursor() as cursor:
                publish(cursor, *events)
            connection.commit()

    writers = [threading.Thread(target=write, args=(name,)) for name in "xy"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    try:
        reader.wait(2400, 120)
    finally:
        for relay in relays:
            relay.stop()
        for thread in threads:
            thread.join()
    assert {key: reader.ids(key) for key in wanted} == wanted
    assert sum(relay.counts.sent for relay in relays) == 2400


def test_a_second_relay_stands_by_in_last_id_mode(
    outbox: Outbox, reader: Reader, make_relay: MakeRelay
) -> None:
    first, second = make_relay("last-id"), make_relay("last-id")
    outbox.publish(one := event("a"))
    first.once()
    table = first._table
    with table.session.transaction():
        assert table.lock_position() is not None
        outbox.publish(two := event("a", 2))
        assert second.once() == 0
    drain(second)
    assert [got.id for got in reader.wait(2)] == [one.id, two.id]


def test_the_modes_do_not_mix(outbox: Outbox, make_relay: MakeRelay) -> None:
    make_relay("last-id").once()
    with pytest.raises(ConfigError, match="other mode"):
        make_relay("status").once()
    assert outbox.query("SELECT name FROM outbox_relay") == [("position",)]
