"""The source's names as PostgreSQL's identifiers: quoted, and shortened where PostgreSQL would cut them."""

from __future__ import annotations

import hashlib

MAX_BYTES = 63
_DIGEST_DIGITS = 12


def stored_name(name: str) -> str:
    """Return the name as PostgreSQL stores it: itself up to 63 bytes, else cut with a hash of the whole.

    MySQL allows 64 characters, up to 192 bytes; PostgreSQL silently cuts at 63 bytes, so that two names
    could become one. ``replica_table`` in the state schema keeps the source's full names.
    """
    encoded = name.encode()
    if len(encoded) <= MAX_BYTES:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:_DIGEST_DIGITS]
    kept = encoded[: MAX_BYTES - _DIGEST_DIGITS - 1].decode(errors="ignore")
    return f"{kept}_{digest}"


def quoted(name: str) -> str:
    """Return the stored name as an SQL identifier, whatever it holds."""
    return '"' + stored_name(name).replace('"', '""') + '"'
