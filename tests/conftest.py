"""The servers that tests need: an own native stack, never the developer's.

`CDC_TEST_HOME` names a stack's directory that is brought up if need be and left running (quick while
developing); `CDC_TEST_ENDPOINTS` names an `endpoints.json` of servers that run anyhow. Without them a stack
is started in `.stack-test/` and removed at the end. What can't be started is an error: nothing is skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from contextlib import contextmanager
from itertools import count
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
    if kept:
        servers = Stack(Path(kept))
        servers.up(sinks=False)
        yield servers
        return
    with _free_home() as home:
        servers = Stack(home)
        try:
            servers.up(sinks=False)
            yield servers
        finally:
            servers.down(wipe=True)


@contextmanager
def _free_home() -> Iterator[Path]:
    """Hold a directory that no other test run uses; what an aborted run left there is taken up."""
    homes = REPOSITORY / ".stack-test"
    homes.mkdir(exist_ok=True)
    for number in count(1):
        with (homes / f"{number}.used").open("w") as used:
            try:
                fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield homes / str(number)
            return


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
