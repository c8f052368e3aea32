"""A NUL byte in a text, which PostgreSQL can't hold: its row waits there, and nothing else does."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sinks.cli.dead_letter_desk import Desk
from sinks.config import load
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack import Stack

    from tests.e2e.stores import Stores

pytestmark = pytest.mark.stack

_NUMBERS = itertools.count(1)
_REPOSITORY = Path(__file__).resolve().parents[2]


class Cdc:
    """The command ``cdc``, on the stack's configuration."""

    def __init__(self, stack: Stack) -> None:
        self._environment = {**os.environ, "CDC_HOME": str(stack.layout.home), "COLUMNS": "200"}
        config = load(None, environ=self._environment, cwd=_REPOSITORY).config
        self._desks = {name: Desk.open(config, sink) for name, sink in config.sinks.items()}

    def __call__(self, *arguments: str) -> tuple[int, str]:
        command = [str(Path(sys.executable).with_name("cdc")), *arguments]
        done = subprocess.run(  # noqa: S603 (our own command)
            command, env=self._environment, cwd=_REPOSITORY, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def keys(self, database: str, sink: str = "replica") -> list[dict[str, Any]]:
        """Return what ``cdc dlq list --json`` shows of a database; in this process, for it is asked often."""
        entries = self._desks[sink].entries()
        return [entry.as_json() for entry in entries if entry.table.startswith(f"{database}.")]

    def close(self) -> None:
        for desk in self._desks.values():
            desk.target.close()


@pytest.fixture
def cdc(pipeline: Stack) -> Iterator[Cdc]:
    command = Cdc(pipeline)
    yield command
    command.close()


@pytest.fixture
def database(stores: Stores) -> str:
    name = f"dlq_{os.getpid()}_{next(_NUMBERS)}"
    stores.execute(
        f"CREATE DATABASE {name}",
        f"CREATE TABLE {name}.t (id INT PRIMARY KEY, v VARCHAR(20))",
        f"INSERT INTO {name}.t VALUES (1, 'one'), (2, 'two')",
    )
    wait_until(lambda: stores.in_postgres(name, "t").total() == 2, 60)
    return name


def test_later_changes_of_the_key_wait_in_order_and_all_else_flows(
    stores: Stores, database: str, pipeline: Stack, cdc: Cdc
) -> None:
    stores.execute(f"UPDATE {database}.t SET v = 'ba\\0d' WHERE id = 1")
    wait_until(lambda: len(cdc.keys(database)) == 1, 30)
    stores.execute(
        f"UPDATE {database}.t SET v = 'clean' WHERE id = 1",
        f"UPDATE {database}.t SET v = 'zwei' WHERE id = 2",
    )
    wait_until(lambda: stores.in_postgres(database, "t") == {(1, "one"): 1, (2, "zwei"): 1}, 30)
    wait_until(lambda: stores.in_elasticsearch(database, "t") == {(1, "clean"): 1, (2, "zwei"): 1}, 30)
    assert cdc.keys(database, "search") == []

    pipeline.kill("sink-replica")
    stores.execute(
        f"UPDATE {database}.t SET v = 'cleaner' WHERE id = 1", f"DELETE FROM {database}.t WHERE id = 2"
    )
    pipeline.start("sink-replica")
    wait_until(lambda: stores.in_postgres(database, "t") == {(1, "one"): 1}, 60)
    (key,) = wait_until(lambda: [k for k in cdc.keys(database) if k["open"] == 3], 30)
    assert [letter["reason"].startswith("follows") for letter in key["letters"]] == [False, True, True]

    code, out = cdc("dlq", "show", key["letters"][0]["id"], "--json")
    shown = json.loads(out[out.index("{") :])
    assert (code, shown["key"], "rows" in shown) == (0, {"id": 1}, False)
    code, out = cdc("dlq", "show", key["letters"][1]["id"], "--values", "--json")
    assert json.loads(out[out.index("{") :])["rows"] == [{"deleted": False, "id": 1, "v": "clean"}]

    code, out = cdc("dlq", "replay", "--table", f"{database}.t")
    assert code == 0, out
    assert stores.in_postgres(database, "t") == {(1, "cleaner"): 1}
    assert cdc.keys(database) == []
    stores.execute(f"UPDATE {database}.t SET v = 'flows' WHERE id = 1")
    wait_until(lambda: stores.in_postgres(database, "t") == {(1, "flows"): 1}, 30)


def test_a_letter_is_edited(stores: Stores, database: str, cdc: Cdc, tmp_path: Path) -> None:
    stores.execute(f"UPDATE {database}.t SET v = 'ba\\0d' WHERE id = 1")
    (key,) = wait_until(lambda: cdc.keys(database), 30)
    letter = key["letters"][0]["id"]
    code, out = cdc("dlq", "replay", letter)
    assert code == 1, out
    assert "still parked" in out
    patch = tmp_path / "edit.json"
    patch.write_text('{"w": "x"}')
    code, out = cdc("dlq", "replay", letter, "--edit", str(patch))
    assert (code, "can't be edited" in out) == (2, True)
    patch.write_text('{"v": "mended"}')
    code, out = cdc("dlq", "replay", letter, "--edit", str(patch))
    assert code == 0, out
    assert stores.in_postgres(database, "t") == {(1, "mended"): 1, (2, "two"): 1}


def test_a_key_is_given_up_and_flows_again(stores: Stores, database: str, cdc: Cdc) -> None:
    stores.execute(f"UPDATE {database}.t SET v = 'ba\\0d' WHERE id = 1")
    wait_until(lambda: cdc.keys(database), 30)
    code, out = cdc("dlq", "discard", "--table", f"{database}.t", "--key", "1")
    assert code == 0, out
    assert stores.in_postgres(database, "t") == {(1, "one"): 1, (2, "two"): 1}
    stores.execute(f"UPDATE {database}.t SET v = 'next' WHERE id = 1")
    wait_until(lambda: stores.in_postgres(database, "t") == {(1, "next"): 1, (2, "two"): 1}, 30)


def test_a_request_waits_for_a_worker(stores: Stores, database: str, pipeline: Stack, cdc: Cdc) -> None:
    stores.execute(f"UPDATE {database}.t SET v = 'ba\\0d' WHERE id = 1")
    wait_until(lambda: cdc.keys(database), 30)
    stores.execute(f"UPDATE {database}.t SET v = 'clean' WHERE id = 1")
    wait_until(lambda: cdc.keys(database)[0]["open"] == 2, 30)
    pipeline.kill("sink-replica")
    code, out = cdc("dlq", "replay", "--table", f"{database}.t", "--wait", "0")
    assert (code, "the request is recorded" in out) == (1, True)
    pipeline.start("sink-replica")
    wait_until(lambda: stores.in_postgres(database, "t") == {(1, "clean"): 1, (2, "two"): 1}, 60)
    wait_until(lambda: cdc.keys(database) == [], 10)
