from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from stack.layout import Layout
from stack.ports import STEP, assign, is_free
from stack.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def occupied() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@pytest.fixture
def free() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def instance(folder: Path, name: str) -> tuple[Layout, State]:
    layout = Layout(folder / name, folder / "cache")
    layout.make()
    return layout, State(layout)


def test_an_occupied_port_is_not_free(occupied: int, free: int) -> None:
    assert not is_free(occupied)
    assert is_free(free)


def test_a_free_default_is_taken_silently_and_kept(tmp_path: Path, free: int) -> None:
    layout, state = instance(tmp_path, "home")
    assert assign(layout, state, {"db": free}, set()) == []
    assert State(layout).port("db") == free


def test_an_occupied_default_moves_on_says_so_and_is_remembered(tmp_path: Path, occupied: int) -> None:
    layout, state = instance(tmp_path, "home")
    (said,) = assign(layout, state, {"db": occupied}, set())
    chosen = state.port("db")
    assert chosen > occupied
    assert (chosen - occupied) % STEP == 0
    assert said == f"port {occupied} is taken: db listens on {chosen}"
    assert assign(layout, State(layout), {"db": occupied}, set()) == []
    assert State(layout).port("db") == chosen


def test_a_running_server_keeps_the_port_that_it_occupies(tmp_path: Path, occupied: int) -> None:
    layout, state = instance(tmp_path, "home")
    state.set_ports({"db": occupied})
    assert assign(layout, state, {"db": occupied}, {"db"}) == []
    assert state.port("db") == occupied


def test_another_instance_that_is_down_keeps_its_ports(tmp_path: Path, free: int) -> None:
    layout, state = instance(tmp_path, "one")
    assign(layout, state, {"db": free}, set())
    other_layout, other = instance(tmp_path, "two")
    assign(other_layout, other, {"db": free}, set())
    assert other.port("db") != free


def test_an_instance_that_was_wiped_gives_its_ports_back(tmp_path: Path, free: int) -> None:
    layout, state = instance(tmp_path, "one")
    assign(layout, state, {"db": free}, set())
    (layout.home / "state.json").unlink()
    other_layout, other = instance(tmp_path, "two")
    assign(other_layout, other, {"db": free}, set())
    assert other.port("db") == free


def test_passwords_are_made_once_and_are_private(tmp_path: Path) -> None:
    layout, state = instance(tmp_path, "home")
    password = state.password("mysql-admin")
    assert len(password) >= 32
    assert State(layout).password("mysql-admin") == password
    assert (layout.secrets / "mysql-admin").stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyError):
        state.password("unheard-of")
