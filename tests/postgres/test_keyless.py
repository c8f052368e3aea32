"""Tables without a key behave as multisets of whole rows."""

from __future__ import annotations

import logging
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from sinks.table_schema import MysqlType
from sinks.targets.postgres import PostgresOptions
from tests.postgres.changes import DOUBLE, INT, JSON, TEXT, changes, table
from tests.postgres.conftest import P0, MakeTarget, Sink

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.stack

COLUMNS = {"a": INT, "b": TEXT, "j": JSON, "d": DOUBLE, "bits": MysqlType("BIT", 9)}
ROWS: list[tuple[Any, ...]] = [
    (1, None, '{"a": [1, 2]}', 0.1, b"\x01\x01"),
    (1, "", '{"a": [1, 2]}', 0.1, b"\x01\x01"),
    (None, None, None, None, None),
    (2, "x", "null", float("nan"), b"\0\0"),
    (2, "x", None, 1e308, b"\xff\x01"),
]


@pytest.mark.parametrize("seed", range(6))
def test_any_log_leaves_the_same_multiset(
    make_target: MakeTarget, query: Callable[..., Any], seed: int
) -> None:
    chance = random.Random(seed)
    schema = table(f"multiset_{seed}", COLUMNS)
    sink = Sink(make_target(options=PostgresOptions(direct_cells=chance.choice([0, 10_000]))), P0)
    there: Counter[int] = Counter()
    offset = 0
    for _ in range(12):
        log = []
        for _ in range(chance.randint(1, 40)):
            held = list(there.elements())
            if held and chance.random() < 0.5:
                gone = chance.choice(held)
                there[gone] -= 1
                log.append((offset, "-", ROWS[gone]))
                if chance.random() < 0.5:  # an update
                    come = chance.randrange(len(ROWS))
                    there[come] += 1
                    log.append((offset, "+", ROWS[come]))
            else:
                come = chance.randrange(len(ROWS))
                there[come] += 1
                log.append((offset, "+", ROWS[come]))
            offset += 1
        sink.apply(changes(schema, log))
        arrived = query(
            f"SELECT a, b, j::text, d::text, count(*) FROM shop.multiset_{seed} GROUP BY a, b, j, d"
        )
        got = Counter({(a, b, j, d): count for a, b, j, d, count in arrived})
        want = Counter(
            {
                (a, b, j, {None: None, 1e308: "1e+308", 0.1: "0.1"}.get(d, "NaN")): there[i]
                for i, (a, b, j, d, _) in enumerate(ROWS)
                if there[i]
            }
        )
        assert got == want, f"seed {seed}"


def test_one_delete_takes_one_of_equal_rows(sink: Sink, query: Callable[..., Any]) -> None:
    schema = table("equal", {"a": INT})
    sink.apply(changes(schema, [(i, "+", (1,)) for i in range(5)]))
    sink.apply(changes(schema, [(5, "-", (1,)), (6, "-", (1,))]))
    assert query("SELECT count(*) FROM shop.equal") == [(3,)]


def test_a_delete_that_finds_nothing_is_logged_without_values(
    sink: Sink, query: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    schema = table("unmatched", {"a": INT, "b": TEXT})
    sink.apply(changes(schema, [(0, "+", (1, "hush"))]))
    with caplog.at_level(logging.WARNING):
        sink.apply(changes(schema, [(1, "-", (1, "hush")), (2, "-", (1, "hush")), (3, "-", (2, "hush"))]))
    (record,) = caplog.records
    assert vars(record)["action"] == "keyless_delete_unmatched"
    assert vars(record)["rows"] == 2
    assert "hush" not in str(vars(record))
    assert query("SELECT count(*) FROM shop.unmatched") == [(0,)]


def test_a_column_that_the_source_lost_does_not_hinder_matching(
    sink: Sink, query: Callable[..., Any]
) -> None:
    sink.apply(changes(table("narrower", {"a": INT, "b": INT, "c": INT}), [(0, "+", (1, 2, 3))]))
    sink.apply(changes(table("narrower", {"c": INT, "a": INT}), [(1, "-", (3, 1)), (2, "+", (4, 1))]))
    assert query("SELECT a, b, c FROM shop.narrower") == [(1, None, 4)]


def test_a_large_batch_of_deletes_is_not_quadratic(sink: Sink, query: Callable[..., Any]) -> None:
    schema = table("large", {"a": INT, "b": TEXT, "bits": MysqlType("BIT", 9)})
    rows = [(i, "+", (i, f"v{i % 7}", b"\1\1")) for i in range(20_000)]
    sink.apply(changes(schema, rows))
    sink.apply(changes(schema, [(i, "-", row) for i, _, row in rows]))  # the suite's timeout is the limit
    assert query("SELECT count(*) FROM shop.large") == [(0,)]
