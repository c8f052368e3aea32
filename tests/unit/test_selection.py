from __future__ import annotations

import pytest

from sinks.errors import FatalError
from sinks.selection import Selection, check_routes
from sinks.table_schema import Column, MysqlType, TableId, TableSchema

CUSTOMERS = TableSchema(
    TableId("shop", "customers"),
    tuple(Column(name, MysqlType("INT"), nullable=False) for name in ("id", "mail", "born")),
    ("id",),
)


@pytest.mark.parametrize(
    ("table", "taken"),
    [("shop.orders", True), ("shop.tmp_x", False), ("shop2.orders", False), ("all.x.y", True)],
)
def test_include_and_exclude_match_part_by_part(table: str, taken: bool) -> None:
    selection = Selection(include=("shop.*", "all"), exclude=("*.tmp_*",))
    database, _, name = table.partition(".")
    assert selection.takes(TableId(database, name)) is taken


def test_an_exact_route_wins_over_patterns_and_a_star_keeps_the_name() -> None:
    selection = Selection(routes={"shop.*": "sales.*", "shop.orders": "x.y", "*.*": "my_*.*"})
    assert selection.table(TableId("shop", "orders")) == ("x", "y")
    assert selection.table(TableId("shop", "items")) == ("sales", "items")
    assert selection.table(TableId("crm", "items")) == ("my_crm", "items")


def test_two_tables_in_one_target_stop_the_sink() -> None:
    selection = Selection(routes={"a.*": "one.*", "b.*": "one.*"})
    selection.table(TableId("a", "t"))
    with pytest.raises(FatalError, match=r"a\.t and b\.t"):
        selection.table(TableId("b", "t"))


def test_columns_are_renamed_and_left_out_and_the_key_follows() -> None:
    selection = Selection(
        exclude_columns=("*.customers.born",),
        rename_columns={"shop.customers.mail": "email", "shop.customers.id": "customer"},
    )
    assert selection.columns(CUSTOMERS) == ((0, "customer"), (1, "email"))
    applied = selection.applied(CUSTOMERS)
    assert applied is not None
    schema, indices = applied
    assert (schema.key, indices) == (("customer",), (0, 1))


def test_include_columns_keeps_the_key_and_leaves_other_tables_alone() -> None:
    assert Selection(include_columns=("shop.customers.born",)).columns(CUSTOMERS) == ((0, "id"), (2, "born"))
    assert len(Selection(include_columns=("shop.orders.id",)).columns(CUSTOMERS)) == 3


def test_a_key_column_cannot_be_excluded() -> None:
    with pytest.raises(FatalError, match="key column"):
        Selection(exclude_columns=("shop.customers.id",)).columns(CUSTOMERS)


def test_two_columns_of_one_name_stop_the_sink() -> None:
    with pytest.raises(FatalError, match="'born'"):
        Selection(rename_columns={"shop.customers.mail": "born"}).columns(CUSTOMERS)


@pytest.mark.parametrize(
    ("routes", "problem"),
    [
        ({"a.*": "x.all"}, "sends several tables to one"),
        ({"a.t": "x.y", "b.t": "x.y"}, "both sent to"),
        ({"a.": "x.y"}, "not of the form"),
        ({"a.t": "x.[y]"}, "no other wildcard"),
    ],
)
def test_impossible_routes_are_seen_before_the_start(routes: dict[str, str], problem: str) -> None:
    assert problem in check_routes(routes)[0]


def test_possible_routes_pass() -> None:
    assert check_routes({"a.*": "x.*", "b.*": "x.*", "legacy": "archive", "*.*": "my_*.*"}) == []
