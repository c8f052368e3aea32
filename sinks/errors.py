"""The errors of the product: each names what failed, where, and the mend; its class is its disposition."""

from __future__ import annotations


class CdcError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        what: one sentence: what failed. Never a row's values.
        where: the position: file and key, topic-partition@offset, host and port, table.
        hint: what the reader should do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        hint = f". {self.hint}" if self.hint else ""
        return f"{self.what}{where}{hint}"


class ConfigError(CdcError):
    """The configuration or the command line can't be used as it is (exit code 2)."""

    exit_code = 2


class OutageError(CdcError):
    """A dependency can't be reached or asks to come later: retried with backoff, never a dead letter."""

    exit_code = 3


class RejectedError(CdcError):
    """One record can't be decoded or is refused by a target for what it holds: parked as a dead letter."""


class FatalError(CdcError):
    """Anything unknown, or that only a person can mend: the worker stops where it is; nothing is skipped."""


class FencedError(FatalError):
    """Another worker has claimed the partition: this one may not write it any more."""
