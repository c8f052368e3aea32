"""A scene per test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import psycopg2
    from stack import Stack


@pytest.fixture
def scene(stack: Stack, endpoints: dict[str, Any], tmp_path: Path) -> Iterator[Scene]:
    made = Scene(stack, endpoints, tmp_path)
    yield made
    made.close()


@pytest.fixture
def administer(stack: Stack) -> Iterator[Callable[[str], None]]:
    """Run a statement as PostgreSQL's superuser."""
    assert "CDC_TEST_ENDPOINTS" not in os.environ
    session: psycopg2.extensions.connection = stack.servers["postgres"].connect()  # type: ignore[attr-defined]
    session.autocommit = True

    def run(statement: str) -> None:
        with session.cursor() as cursor:
            cursor.execute(statement)

    yield run
    session.close()
