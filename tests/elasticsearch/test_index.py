"""What stands in a real index: names, mappings, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sinks.errors import FatalError, OutageError
from sinks.targets.elasticsearch import ElasticsearchOptions, ElasticsearchTarget
from tests.builders import BIGINT, INT, JSON, TEXT, VARCHAR, batch, changes, delete, put, table
from tests.contract.worker import Worker

if TYPE_CHECKING:
    from tests.elasticsearch.conftest import Search


def test_documents_are_found_under_the_table_s_name(search: Search) -> None:
    schema = table("orders", {"id": INT, "note": TEXT}, ["id"], database=search.database)
    search.worker.apply(changes(schema, put(0, 7, "brown fox"), put(1, 8, "red hen")), next_offset=2)
    alias = f"{search.database}.orders"
    assert search.target.index_of(schema.table) == alias
    assert search.indices(schema) == [f"{alias}-000001"]
    search.ask("POST", f"/{alias}/_refresh")
    query = {"query": {"match": {"note": "fox"}}}
    (hit,) = search.ask("POST", f"/{alias}/_search", query)["hits"]["hits"]
    assert (hit["_id"], hit["_source"]) == ("7", {"id": 7, "note": "brown fox"})


def test_two_tables_that_ask_for_one_alias(search: Search) -> None:
    lower = table("orders", {"id": INT}, ["id"], database=search.database)
    upper = table("ORDERS", {"id": INT}, ["id"], database=search.database)
    search.worker.apply(changes(lower, put(0, 1)), changes(upper, put(1, 2)), next_offset=2)
    search.target.claim([])
    search.worker.apply(changes(upper, put(2, 3)), next_offset=3)
    assert search.documents(lower).keys() == {"1"}
    assert search.documents(upper).keys() == {"2", "3"}


def test_names_that_need_care(search: Search) -> None:
    columns = {
        "id": INT,
        "_id": TEXT,
        "a.b": TEXT,
        "a": INT,
        "*": TEXT,
        'q"\\': TEXT,
        " x": JSON,
        "_source": INT,
    }
    schema = table("My table/#1,?", columns, ["id"], database=search.database)
    search.worker.apply(changes(schema, put(0, 1, "i", "ab", 2, "star", "q", "[1]", 3)), next_offset=1)
    assert search.worker.parked == []
    assert search.documents(schema) == {
        "1": {
            "id": 1,
            "%5Fid": "i",
            "a%2Eb": "ab",
            "a": 2,
            "%2A": "star",
            'q"\\': "q",
            " x": [1],
            "%5Fsource": 3,
        }
    }


def test_an_index_that_is_someone_else_s_is_left_alone(search: Search) -> None:
    schema = table("my table", {"id": INT}, ["id"], database=search.database)
    search.worker.apply(changes(schema, put(0, 1)), next_offset=1)
    alias = search.target.index_of(schema.table)
    assert alias is not None
    search.ask("DELETE", f"/{alias}-000001")
    search.ask("PUT", f"/{alias}")
    search.target.claim([])
    with pytest.raises(FatalError, match="taken"):
        search.worker.apply(changes(schema, put(1, 1)), next_offset=2)


def test_three_hundred_columns(search: Search) -> None:
    columns = {"id": INT} | {f"column {i}": TEXT for i in range(600)}
    schema = table("wide", columns, ["id"], database=search.database)
    search.worker.apply(changes(schema, put(0, 1, *(str(i) for i in range(600)))), next_offset=1)
    assert search.documents(schema)["1"]["column 599"] == "599"


def test_a_column_that_outgrows_its_field(search: Search) -> None:
    columns = {"id": INT, "n": INT, "j": TEXT}
    narrow = table("grows", columns, ["id"], database=search.database)
    rows = [put(i, i, i, "text") for i in range(2500)]
    search.worker.apply(changes(narrow, *rows, delete(2500, 3, 3, "text")), next_offset=2501)
    wide = table("grows", columns | {"n": BIGINT, "j": JSON, "more": TEXT}, ["id"], database=search.database)
    search.worker.apply(changes(wide, put(2501, 1, 2**62, '{"a": 1}', "x")), next_offset=2502)
    alias = search.target.index_of(wide.table)
    assert search.indices(wide) == [f"{alias}-000002"]
    documents = search.documents(wide)
    assert len(documents) == 2499
    assert documents["1"] == {"id": 1, "n": 2**62, "j": {"a": 1}, "more": "x"}
    assert documents["2499"] == {"id": 2499, "n": 2499, "j": "text"}
    fields = search.ask("GET", f"/{alias}/_mapping")[f"{alias}-000002"]["mappings"]["properties"]
    assert (fields["n"]["type"], fields["j"]["enabled"]) == ("long", False)
    search.worker.apply(changes(narrow, put(2501, 1, 5, "replayed")), next_offset=2502)
    assert search.indices(wide) == [f"{alias}-000002"]
    assert search.worker.parked == []


def test_an_interrupted_rebuild_is_done_again(search: Search) -> None:
    narrow = table("grows", {"id": INT, "n": INT}, ["id"], database=search.database)
    search.worker.apply(changes(narrow, put(0, 1, 1)), next_offset=1)
    alias = search.target.index_of(narrow.table)
    search.ask("PUT", f"/{alias}-000001/_block/write")
    search.ask("PUT", f"/{alias}-000002")
    with pytest.raises(OutageError):
        search.worker.apply(changes(narrow, put(1, 2, 2)), next_offset=2)
    wide = table("grows", {"id": INT, "n": VARCHAR}, ["id"], database=search.database)
    search.target.claim([])
    search.worker.apply(changes(wide, put(1, 2, "two")), next_offset=2)
    assert search.documents(wide) == {"1": {"id": 1, "n": 1}, "2": {"id": 2, "n": "two"}}


def test_older_versions_never_win(search: Search) -> None:
    """A worker that is thought dead may send its last request late."""
    schema = table("late", {"id": INT, "v": VARCHAR}, ["id"], database=search.database)
    search.worker.apply(changes(schema, put(10, 1, "new"), delete(11, 2, "gone")), next_offset=12)
    search.worker.apply(
        changes(schema, put(5, 1, "late"), put(6, 2, "late"), delete(7, 1, "x")), next_offset=12
    )
    assert search.documents(schema) == {"1": {"id": 1, "v": "new"}}


def test_an_index_that_is_gone_is_noticed(search: Search) -> None:
    schema = table("gone", {"id": INT}, ["id"], database=search.database)
    search.worker.apply(changes(schema, put(0, 1)), next_offset=1)
    search.ask("DELETE", f"/{search.indices(schema)[0]}")
    with pytest.raises(FatalError, match="verify"):
        search.worker.apply(changes(schema, put(1, 2)), next_offset=2)


def test_many_tables_and_chunks_at_once(search: Search, elasticsearch_url: str) -> None:
    options = ElasticsearchOptions(chunk_bytes=2000, connections=3)
    target = ElasticsearchTarget(search.target.name, elasticsearch_url, options=options)
    worker = Worker(target)
    tables = [table(f"t{i}", {"id": INT, "v": TEXT}, ["id"], database=search.database) for i in range(6)]
    segments = [
        changes(schema, *(put(i * 100 + j, j, f"value {j}") for j in range(100)))
        for i, schema in enumerate(tables)
    ]
    worker.apply(*segments, next_offset=600)
    assert all(len(search.documents(schema)) == 100 for schema in tables)
    target.close()


def test_no_server_is_an_outage() -> None:
    target = ElasticsearchTarget("x", "http://user:secret@127.0.0.1:1")
    with pytest.raises(OutageError) as caught:
        target.ping()
    assert "secret" not in str(caught.value)
    target.close()


def test_claims_at_once_end_in_one_owner(search: Search, elasticsearch_url: str) -> None:
    targets = [ElasticsearchTarget(search.target.name, elasticsearch_url) for _ in range(4)]
    leases = [Worker(target).stored.popitem()[1].lease for target in targets]
    assert leases == [2, 3, 4, 5]
    schema = table("own", {"id": INT}, ["id"], database=search.database)
    targets[-1].apply(batch(changes(schema, put(0, 1)), next_offset=1), lambda _: None)
    for target in targets:
        target.close()
