from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pymysql

if TYPE_CHECKING:
    from stack import Stack


def link(endpoints: dict[str, Any]) -> pymysql.Connection[Any]:
    return pymysql.connect(**endpoints["mysql"], autocommit=True)


def test_up_repairs_what_was_killed_and_leaves_the_rest_alone(
    stack: Stack, endpoints: dict[str, Any]
) -> None:
    note = uuid.uuid4().hex
    with link(endpoints) as before, before.cursor() as cursor:
        cursor.execute("UPDATE shop.orders SET note = %s WHERE id = 7", (note,))
    killed = ("mysql", "postgres", "connect")
    kept = {name: process for name, process in pids(stack).items() if name not in killed}
    for name in killed:
        stack.kill(name)
    stack.up(sinks=False)
    assert {name: process for name, process in pids(stack).items() if name not in killed} == kept
    assert all(each.answers for each in stack.status() if not each.name.startswith("sink-"))
    with link(endpoints) as after, after.cursor() as cursor:
        cursor.execute("SELECT note FROM shop.orders WHERE id = 7")
        assert cursor.fetchone() == (note,)


def pids(stack: Stack) -> dict[str, int | None]:
    return {each.name: each.pid for each in stack.status()}
