"""From a decoded Debezium envelope's own columns to the columns of ``wire.base.Decoded``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinks.errors import RejectedError
from sinks.wire.base import ENVELOPE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_ENVELOPE = {"before", "after", "source", "op"}
_SOURCE = {"db", "table", "gtid", "snapshot", "ts_ms"}


def require_envelope(fields: Collection[str], source: Collection[str]) -> None:
    """Check the names of an envelope's fields and of its source block's.

    Raises:
        RejectedError: this is not what Debezium's MySQL connector writes for a row.
    """
    missing = sorted(_ENVELOPE.difference(fields)) or sorted(_SOURCE.difference(source))
    if missing:
        raise RejectedError(f"not an envelope of Debezium's MySQL connector: no field {missing[0]!r}")


def envelope_frame(decoded: pl.DataFrame, ordinals: Sequence[int]) -> pl.DataFrame:
    """Pick out what the sinks use of a Debezium envelope.

    Args:
        decoded: columns ``before``, ``after``, ``source``, ``op``, ``transaction`` as the wire has them.
        ordinals: the rows' places among the records that were handed in.
    """
    source = pl.col("source").struct
    transaction = decoded.schema.get("transaction")
    has_order = isinstance(transaction, pl.Struct) and "total_order" in {f.name for f in transaction.fields}
    order = pl.col("transaction").struct.field("total_order") if has_order else pl.lit(None)
    columns: dict[str, pl.Expr | pl.Series] = {
        "ordinal": pl.Series(ordinals, dtype=pl.Int64),
        "op": pl.col("op"),
        "database": source.field("db"),
        "table": source.field("table"),
        "gtid": source.field("gtid"),
        "snapshot": source.field("snapshot"),
        "source_ms": source.field("ts_ms").cast(pl.Int64),
        "order": order.cast(pl.Int64),
        "before": pl.col("before"),
        "after": pl.col("after"),
    }
    return decoded.select(columns[name].alias(name) for name in ENVELOPE_COLUMNS)


def empty_frame() -> pl.DataFrame:
    """Return a frame of no records: what is left when every one was refused."""
    return pl.DataFrame(schema=dict.fromkeys(ENVELOPE_COLUMNS, pl.Null))
