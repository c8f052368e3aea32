"""Appends measured runs to the table of docs/guarantees.md: the only thing that writes there."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"
_END = "<!-- measured rows end here -->"


class Row(NamedTuple):
    """One row of the table."""

    fault: str
    command: str
    runs: int
    seeds: str
    changes: int
    lost: int
    duplicated: int
    out_of_order: int


def record(rows: Sequence[Row], page: Path = PAGE) -> None:
    """Append rows, with today's date."""
    day = dt.datetime.now(dt.UTC).date().isoformat()
    lines = [
        f"| {r.fault} | `{r.command}` | {day} | {r.runs:,} | {r.seeds} | {r.changes:,} "
        f"| {r.lost} | {r.duplicated} | {r.out_of_order} |\n"
        for r in rows
    ]
    text = page.read_text(encoding="utf-8")
    if _END not in text:
        raise ValueError(f"{page.name} has no line {_END!r}")
    page.write_text(text.replace(_END, "".join(lines) + _END), encoding="utf-8")
