"""Poison is cut out by key: what comes before it is applied, it and what follows it is parked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sinks.targets.base import Rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sinks.targets.base import RowChanges


def follows(offset: int) -> str:
    """Return the reason of a record that is parked for a refused one before it."""
    return f"follows the refused change of its key at offset {offset}"


def apply_one_by_one(
    changes: RowChanges, keys: Iterable[bytes], apply: Callable[[RowChanges], str | None]
) -> list[Rejection]:
    """Apply all changes of some keys in log order, each on its own, up to the first that is refused.

    Args:
        changes: the changes of the segment, these keys' among them.
        keys: the keys whose coalesced change was refused.
        apply: applies one change and returns why it is refused, or None.

    Returns:
        One rejection per record that was refused or follows a refused one of its key.
    """
    rejections: list[Rejection] = []
    for key in keys:
        refused_at: int | None = None
        for change in changes.of_key(key).partition_by("offset", maintain_order=True):
            offset: int = change["offset"][0]
            if refused_at is None:
                reason = apply(replace(changes, frame=change))
                if reason is None:
                    continue
                refused_at = offset
            else:
                reason = follows(refused_at)
            rejections.append(Rejection(changes.partition, offset, reason, key, changes.table))
    return rejections
