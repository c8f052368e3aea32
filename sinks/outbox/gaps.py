"""Ids that are missing below the position: rolled back, or of a transaction that has not committed yet.

Ids are given at INSERT, rows become visible at COMMIT: a greater id may be seen first. A relay that remembers
the last id only would pass the smaller one by for ever. So each missing range is kept, with the transactions
that were open when it was seen; only when the last of them has ended, and the range has been read once more
after that, is it known to be nobody's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sinks.outbox.table import Holder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet


@dataclass(frozen=True)
class Gap:
    """A range of missing ids, and who may still fill it."""

    first: int
    last: int
    holders: frozenset[Holder]


def missing(last_id: int, seen: Sequence[int], holders: AbstractSet[Holder]) -> list[Gap]:
    """Return the ranges between ``last_id`` and the greatest seen id that were not seen.

    Args:
        last_id: the position before.
        seen: ids read after it, ascending.
        holders: the transactions open *after* they were read.
    """
    gaps: list[Gap] = []
    for id_ in seen:
        if id_ > last_id + 1:
            gaps.append(Gap(last_id + 1, id_ - 1, frozenset(holders)))
        last_id = id_
    return gaps


def narrowed(
    gaps: Iterable[Gap], found: AbstractSet[int], holders: AbstractSet[Holder], *, whole: bool
) -> list[Gap]:
    """Return what is still open of the gaps.

    Args:
        gaps: as they were stored.
        found: ids that were read in them *after* ``holders`` were asked for.
        holders: the transactions open before that read.
        whole: whether the read covered everything; a gap is closed by a whole read only.
    """
    left: list[Gap] = []
    for gap in gaps:
        still = gap.holders & holders
        if not still and whole:
            continue
        inside = [id_ for id_ in sorted(found) if gap.first <= id_ <= gap.last]
        left += [
            replace(part, holders=still) for part in missing(gap.first - 1, [*inside, gap.last + 1], still)
        ]
    return left


def as_json(gaps: Iterable[Gap]) -> list[list[object]]:
    """Return the stored form."""
    return [[gap.first, gap.last, sorted(map(list, gap.holders))] for gap in gaps]


def from_json(text: str) -> list[Gap]:
    """Read what :func:`as_json` returned, as text."""
    return [
        Gap(first, last, frozenset(Holder(*holder) for holder in holders))
        for first, last, holders in json.loads(text)
    ]
