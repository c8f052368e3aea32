"""A sink of its own per test; everything it made is removed at the end."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from sinks.targets.elasticsearch import ElasticsearchTarget
from sinks.targets.elasticsearch.scan import scan
from tests.contract.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinks.table_schema import TableSchema


class Search:
    """A target, a worker that drives it, and a direct look at the cluster."""

    def __init__(self, url: str) -> None:
        self.database = f"shop_{secrets.token_hex(4)}"
        self.target = ElasticsearchTarget(f"sink-{secrets.token_hex(4)}", url)
        self.worker = Worker(self.target)

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return self.target._client.request(method, path, body, doing="testing")

    def documents(self, schema: TableSchema) -> dict[str, Any]:
        index = self.target.index_of(schema.table)
        assert index is not None
        pages = scan(self.target._client, index, source=True)
        return {hit["_id"]: hit["_source"] for page in pages for hit in page}

    def indices(self, schema: TableSchema) -> list[str]:
        """Return the concrete indices behind a table's alias."""
        return sorted(self.ask("GET", f"/{self.target.index_of(schema.table)}/_alias"))

    def close(self) -> None:
        for index in self.ask("GET", f"/{self.database}*/_alias"):
            self.ask("DELETE", f"/{index}")
        self.ask("DELETE", f"/{self.target._state.index}")
        self.target.close()


@pytest.fixture
def search(elasticsearch_url: str) -> Iterator[Search]:
    made = Search(elasticsearch_url)
    yield made
    made.close()
