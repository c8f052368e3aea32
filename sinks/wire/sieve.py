"""Whole blocks as columns; of a block that does not fit, every record that does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from sinks.wire.base import Decoded
from sinks.wire.envelope_frame import empty_frame, envelope_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEW = 8
"""So many records are read one by one rather than halved on."""


class RecordReader(Protocol):
    """Reads Debezium envelopes of one schema: many as columns, or one on its own."""

    schema: pl.Schema

    def read(self, values: Sequence[bytes]) -> pl.DataFrame | None:
        """Return a row per value, in order, or None if any of them does not fit."""
        ...

    def read_one(self, value: bytes) -> dict[str, Any] | str:
        """Return one value as a row of :attr:`schema`, or the reason why it can't be read."""
        ...


def sieve(reader: RecordReader, values: Sequence[bytes]) -> Decoded:
    """Decode values; a block that does not fit is halved, and its last few are read on their own."""
    refused: dict[int, str] = {}
    frames: list[pl.DataFrame] = []
    spans = [(0, len(values))] if values else []
    while spans:
        start, end = spans.pop()
        frame = reader.read(values[start:end])
        if frame is not None:
            frames.append(envelope_frame(frame, range(start, end)))
        elif end - start > _FEW:
            middle = (start + end) // 2
            spans += [(middle, end), (start, middle)]
        else:
            rows: dict[int, dict[str, Any]] = {}
            for ordinal in range(start, end):
                row = reader.read_one(values[ordinal])
                if isinstance(row, str):
                    refused[ordinal] = row
                else:
                    rows[ordinal] = row
            if rows:
                frames.append(envelope_frame(pl.DataFrame([*rows.values()], schema=reader.schema), [*rows]))
    return Decoded(pl.concat(frames) if frames else empty_frame(), refused)
