"""The servers that tests need: an own native stack, never the developer's.

`CDC_TEST_HOME` names a stack's directory that is brought up if need be and left running (quick while
developing); `CDC_TEST_ENDPOINTS` names an `endpoints.json` of servers that run anyhow. Without them a stack
is started in `.stack-test/` and removed at the end. What can't be started is an error: nothing is skipped.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "scripts"))

from stack import Stack  # noqa: E402 - the path comes first

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVER_FIXTURES = {"stack", "endpoints", "postgres_dsn", "elasticsearch_url"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs servers by what it asks for."""
    for item in items:
        if _SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("stack")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """An own stack, up, without sinks: tests stop, kill and restart its servers."""
    kept = os.environ.get("CDC_TEST_HOME")
    servers = Stack(Path(kept) if kept else REPOSITORY / ".stack-test")
    servers.up(sinks=False)
    yield servers
    if not kept:
        servers.down(wipe=True)


@pytest.fixture(scope="session")
def endpoints(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the addresses of the servers, as in `endpoints.json`."""
    given = os.environ.get("CDC_TEST_ENDPOINTS")
    path = Path(given) if given else request.getfixturevalue("stack").layout.endpoints
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="session")
def elasticsearch_url(endpoints: dict[str, Any]) -> str:
    url: str = endpoints["elasticsearch"]["url"]
    return url
