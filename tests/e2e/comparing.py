"""Waiting until the three stores hold the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.e2e.stores import Stores


def wait_equal(
    stores: Stores, database: str, *tables: str, search: bool = True, deadline: float = 120
) -> None:
    """Wait until the tables are the same in all three stores; say how they differ if they never are."""

    def differences() -> str:
        try:
            found = (stores.differences(database, table, search=search) for table in tables)
            return "; ".join(filter(None, found))
        except (ValueError, TypeError, ArithmeticError, KeyError, httpx.HTTPStatusError) as error:
            # A table whose definition has not arrived can't be compared; an index may go while it is read.
            return f"not to be compared: {error!r}"

    try:
        wait_until(lambda: not differences(), deadline, every=0.1)
    except AssertionError:
        pytest.fail(differences() or "equal, but too late")
