from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from stack.layout import REPO, Layout
from stack.progress import Reporter
from stack.servers.connectors import CONNECTORS
from stack.servers.postgres import reachable
from stack.stack import SERVERS, SINKS, STOP_ORDER, Stack

if TYPE_CHECKING:
    from pathlib import Path

PLACEHOLDER = re.compile(r"\$\{(?:env:)?(CDC_\w+)\}")


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path / "home", tmp_path / "cache", Reporter(Console(quiet=True)))


def test_looking_at_a_stack_that_never_was_leaves_no_trace(stack: Stack) -> None:
    assert not any(status.answers or status.pid for status in stack.status())
    assert not stack.layout.home.exists()


def test_every_server_is_stopped_once_and_after_those_that_need_it() -> None:
    order = [name for wave in STOP_ORDER for name in wave]
    assert sorted(order) == sorted(kind.name for kind in SERVERS)
    for kind in SERVERS:
        for need in set(kind.needs) & set(order):
            assert order.index(kind.name) < order.index(need), (kind.name, need)
    assert STOP_ORDER[0] == SINKS


def test_no_two_listeners_want_the_same_port() -> None:
    wanted = [port for kind in SERVERS for port in kind.listeners.values()]
    assert len(wanted) == len(set(wanted))


def test_connectors_hold_no_secret_and_every_address_is_looked_up() -> None:
    addresses = {"CDC_KAFKA_BOOTSTRAP", "CDC_REGISTRY", "CDC_MYSQL_HOST", "CDC_MYSQL_PORT"}
    used = set(PLACEHOLDER.findall((REPO / "connect" / "worker.properties").read_text()))
    for path in CONNECTORS.glob("*.json"):
        config = json.loads(path.read_text())["config"]
        used |= set(PLACEHOLDER.findall(path.read_text()))
        for key, value in config.items():
            assert "password" not in key or PLACEHOLDER.fullmatch(value), (path.name, key)
    assert used == addresses | {"CDC_MYSQL_CAPTURE_PASSWORD"}


def test_sql_files_ask_only_for_passwords_that_are_filled_in() -> None:
    asked = {
        name
        for path in (REPO / "sql" / "mysql").glob("*.sql")
        for name in PLACEHOLDER.findall(path.read_text())
    }
    assert asked == {"CDC_MYSQL_CAPTURE_PASSWORD", "CDC_MYSQL_ADMIN_PASSWORD", "CDC_MYSQL_SHOP_PASSWORD"}


def test_a_folder_behind_a_closed_one_is_out_of_reach(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    assert not reachable(closed / "within" / "not-yet-there")


def test_the_environment_names_home_and_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CDC_HOME", str(tmp_path / "h"))
    monkeypatch.setenv("CDC_CACHE", str(tmp_path / "c"))
    assert Layout.find() == Layout(tmp_path / "h", tmp_path / "c")
    monkeypatch.delenv("CDC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert Layout.find().cache == tmp_path / "x" / "cdc-stack"
    monkeypatch.delenv("CDC_HOME")
    assert Layout.find().home == REPO / ".stack"
