"""Names of indices, fields and documents: legal, and never one for two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.mysql_types import MYSQL_TYPES
from sinks.table_schema import MysqlType, TableId
from sinks.targets.elasticsearch.documents import document_ids
from sinks.targets.elasticsearch.indices import alias_candidates
from sinks.targets.elasticsearch.mapping import field_name, missing, outgrown, properties_of
from tests.builders import BIGINT, TEXT, VARCHAR, changes, put, table


@pytest.mark.parametrize(
    ("database", "name", "first"),
    [("shop", "orders", "shop.orders"), ("Shop", "Orders", "shop.orders"), ("a_b", "x-1", "a_b.x-1")],
)
def test_an_alias_is_the_table_s_name(database: str, name: str, first: str) -> None:
    alias, other = alias_candidates(TableId(database, name))
    assert alias == first
    assert other.startswith(f"{first}-")


@pytest.mark.parametrize("name", ["my table", "a/b", "a*b", "a#b", 'q"', "ü" * 64 + "é" * 64, "a,b", "a:b"])
def test_an_illegal_name_has_a_suffix_of_its_own(name: str) -> None:
    aliases = {alias_candidates(TableId("shop", n)) for n in (name, name.replace(" ", "/"), name + "x")}
    assert all(len(candidates) == 1 for candidates in aliases)
    assert all(len(f"{alias}-000001".encode()) <= 255 for (alias,) in aliases)
    assert len(aliases) >= 2


@pytest.mark.parametrize("sign", ["-", "_", "+", "."])
def test_a_sign_is_not_the_first_character(sign: str) -> None:
    (alias,) = alias_candidates(TableId(f"{sign}db", "t"))
    assert alias.startswith(f"x{sign}db.t-")


@given(st.lists(st.text(max_size=8), min_size=2, max_size=2, unique=True))
def test_fields_of_two_columns_differ(names: list[str]) -> None:
    assert len({field_name(name) for name in names}) == 2


def test_fields_that_elasticsearch_reads_otherwise() -> None:
    names = ["plain", "_foo", "_id", "a.b", "50%", "*"]
    assert [field_name(name) for name in names] == ["plain", "_foo", "%5Fid", "a%2Eb", "50%25", "%2A"]


@given(
    st.lists(st.tuples(st.text("a,\\N", max_size=4), st.text("a,\\N", max_size=4)), min_size=2, unique=True)
)
def test_composite_ids_differ(keys: list[tuple[str, str]]) -> None:
    schema = table("t", {"a": VARCHAR, "b": VARCHAR}, ["a", "b"])
    segment = changes(schema, *(put(i, *key) for i, key in enumerate(keys)))
    assert document_ids(schema, segment.frame).n_unique() == len(keys)


def test_ids_of_one_column() -> None:
    texts = ["42", "a,b", "\\", "", "x" * 512, "x" * 513, "ü" * 300, "sha256:abc"]
    schema = table("t", {"a": TEXT}, ["a"])
    ids = document_ids(schema, changes(schema, *(put(i, text) for i, text in enumerate(texts))).frame)
    assert ids[:3].to_list() == texts[:3]
    assert ids[4] == texts[4]
    assert all(ids[i].startswith("sha256:") for i in (3, 5, 6, 7))
    assert ids.n_unique() == len(texts)
    numbers = table("t", {"a": BIGINT}, ["a"])
    assert document_ids(numbers, changes(numbers, put(0, -(2**63))).frame)[0] == "-9223372036854775808"


def test_null_in_a_key_is_not_a_text() -> None:
    wide = table("t", {"a": TEXT})
    nullable = type(wide)(wide.table, wide.columns, ("a",))
    ids = document_ids(nullable, changes(nullable, put(0, None), put(1, "\\N"), put(2, "N")).frame)
    assert ids.to_list() == ["\\N", "\\\\N", "N"]


def test_a_field_grows_until_it_takes_both_types_and_never_back() -> None:
    for first in MYSQL_TYPES:
        for second in MYSQL_TYPES:
            there, wanted = (properties_of(table("t", {"c": MysqlType(n)})) for n in (first, second))
            grown = there | outgrown(there, wanted)
            assert not outgrown(grown, wanted), (first, second)
            assert not outgrown(grown, there), (first, second)


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [
        ("INT", "BIGINT", "long"),
        ("BIGINT", "INT", "long"),
        ("INT", "FLOAT", "double"),
        ("INT", "VARCHAR", "text"),
        ("VARCHAR", "INT", "text"),
        ("DATE", "INT", "text"),
        ("TEXT", "JSON", "object"),
        ("DOUBLE", "DECIMAL", "keyword"),
    ],
)
def test_what_a_field_becomes(first: str, second: str, field: str) -> None:
    there, wanted = (properties_of(table("t", {"c": MysqlType(name)})) for name in (first, second))
    assert (there | outgrown(there, wanted))["c"]["type"] == field


def test_missing_fields() -> None:
    there = properties_of(table("t", {"a": BIGINT}))
    wanted = properties_of(table("t", {"a": BIGINT, "b": TEXT}))
    assert list(missing(there, wanted)) == ["b"]
