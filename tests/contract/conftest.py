"""The suite runs over every target."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.builders import INT, VARCHAR, table
from tests.contract.harness import ElasticsearchHarness, Harness, MemoryHarness, PostgresHarness
from tests.contract.http_harness import HttpHarness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinks.table_schema import TableSchema


@pytest.fixture(
    params=[
        "memory",
        "http",
        pytest.param("postgres", marks=pytest.mark.stack),
        pytest.param("elasticsearch", marks=pytest.mark.stack),
    ]
)
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    made: Harness
    match request.param:
        case "postgres":
            made = PostgresHarness(request.getfixturevalue("endpoints")["postgres"]["dsn"])
        case "elasticsearch":
            made = ElasticsearchHarness(request.getfixturevalue("elasticsearch_url"))
        case "http":
            made = HttpHarness(request.getfixturevalue("tmp_path"))
        case _:
            made = MemoryHarness()
    yield made
    made.close()


@pytest.fixture
def items() -> TableSchema:
    return table("items", {"id": INT, "name": VARCHAR}, ["id"], database=f"shop_{secrets.token_hex(4)}")
