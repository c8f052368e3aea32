"""From a decoded Debezium envelope's own columns to the columns of ``wire.base.Decoded``."""

from __future__ import annotations

import polars as pl

from sinks.wire.base import ENVELOPE_COLUMNS


def envelope_frame(decoded: pl.DataFrame, first_ordinal: int) -> pl.DataFrame:
    """Pick out what the sinks use of a Debezium envelope.

    Args:
        decoded: columns ``before``, ``after``, ``source``, ``op``, ``transaction`` as the wire has them.
        first_ordinal: ordinal of the frame's first row.
    """
    source = pl.col("source").struct
    transaction = decoded.schema.get("transaction")
    has_order = isinstance(transaction, pl.Struct) and "total_order" in {f.name for f in transaction.fields}
    order = pl.col("transaction").struct.field("total_order") if has_order else pl.lit(None)
    columns = {
        "ordinal": pl.int_range(first_ordinal, first_ordinal + pl.len(), dtype=pl.Int64),
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
