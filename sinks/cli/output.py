"""How commands print: data on stdout, errors on stderr."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from sinks.redact import redacted

if TYPE_CHECKING:
    from sinks.errors import CdcError

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def console(*, stderr: bool = False) -> Console:
    """Return a console of the terminal's width; without colours where there is no terminal."""
    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def print_json(value: object) -> None:
    """Print a value as JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def tell_error(error: CdcError) -> None:
    """Print what failed, where, and the mend on stderr."""
    out = console(stderr=True)
    where = f" [{error.where}]" if error.where else ""
    out.print(Text.assemble(("error: ", "bold red"), _line(error.what + where)), soft_wrap=True)
    if error.hint:
        hint = error.hint[:1].upper() + error.hint[1:]
        out.print(Text.assemble(("  → ", "bold"), _line(hint)), soft_wrap=True)


def _line(text: str) -> str:
    """Return a text without passwords; its line breaks are kept only where it is a list."""
    return redacted(text if "\n  - " in text else " ".join(text.split()))


def duration(seconds: float) -> str:
    """Return a time span in one or two units: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``4 d 1 h``."""
    if seconds < 10:  # noqa: PLR2004 (one digit before the point)
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = int(seconds)
    for unit, of, below, name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            return f"{whole // unit} {of} {whole % unit // below} {name}"
    return f"{whole} s"


def moment(ms: int) -> str:
    """Return a moment as UTC text; ``never`` for 0."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if ms else "never"


def plain(text: str) -> str:
    """Return a text that Rich prints as it is."""
    return escape(text)
