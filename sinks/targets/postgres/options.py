"""How a PostgreSQL target behaves: a frozen value with measured defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """Settings of a PostgreSQL target; all times in seconds.

    Attributes:
        connect_timeout_s: how long a connection attempt may take.
        statement_timeout_s: the longest statement.
        transaction_timeout_s: the longest batch; bounds what a frozen worker can hold (PostgreSQL 17 on).
        idle_timeout_s: the longest pause inside a batch; has to cover a flush of dead letters.
        lock_timeout_s: the longest wait for a lock; then the batch is tried again later.
        takeover_grace_s: how long a claim waits for the previous owner's open transaction to end before it
            terminates that session.
        direct_cells: a batch of up to so many values goes as one statement with literals, without staging.
        direct_bytes: and of up to so many bytes.
        staging_tables: how many temporary staging tables are kept for use again.
    """

    connect_timeout_s: int = 5
    statement_timeout_s: int = 300
    transaction_timeout_s: int = 300
    idle_timeout_s: int = 60
    lock_timeout_s: int = 10
    takeover_grace_s: float = 2.0
    direct_cells: int = 400
    direct_bytes: int = 1 << 20
    staging_tables: int = 100
