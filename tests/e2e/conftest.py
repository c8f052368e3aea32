from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.stores import Stores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stack import Stack

SINKS = ("sink-replica", "sink-search")
SETTINGS = {
    # A table without a key has no place in Elasticsearch; tests that want the refusal use other databases.
    "CDC_SINKS__SEARCH__EXCLUDE": '["debezium.*", "*.notes"]',
    # An outage in a test lasts seconds, not minutes.
    "CDC_WORKER__RETRY_CEILING_SECONDS": "1",
    "CDC_WORKER__BREAKER_OPEN_SECONDS": "1",
}


@pytest.fixture(scope="package")
def pipeline(stack: Stack) -> Iterator[Stack]:
    """The own stack with both sinks at work; other tests see neither them nor their settings."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in SETTINGS.items():
            patched.setenv(name, value)
        for sink in SINKS:
            stack.start(sink)
        yield stack
        for sink in SINKS:
            stack.stop(sink)


@pytest.fixture
def stores(pipeline: Stack, endpoints: dict[str, Any]) -> Iterator[Stores]:
    assert pipeline
    opened = Stores(endpoints)
    yield opened
    opened.close()
