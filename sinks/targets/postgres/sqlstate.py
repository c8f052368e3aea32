"""One table from PostgreSQL's SQLSTATE to a disposition: outage, rejected, fatal. Unknown is fatal."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import errorcodes

from sinks.errors import CdcError, FatalError, OutageError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MEND_MISSING_TABLE = (
    "put the table back, or have it made anew and filled by a snapshot: "
    "delete its line from the state schema's replica_table, then `cdc snapshot TABLE`"
)

# Classes and codes of conditions that pass without anybody touching data, schema or rights.
_OUTAGE_CLASSES = {
    "08",  # connection exception
    "40",  # transaction rollback: deadlock, serialization
    "53",  # insufficient resources: disk full, out of memory, too many connections
}
_OUTAGE_CODES = {
    "25006",  # read_only_sql_transaction: a standby, or about to be one
    "25P03",  # idle_in_transaction_session_timeout
    "25P04",  # transaction_timeout
    "55P03",  # lock_not_available
    "57014",  # query_canceled, statement_timeout
    "57P01",  # admin_shutdown, pg_terminate_backend
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    "57P05",  # idle_session_timeout
}
_REJECTED_CLASSES = {
    "22",  # data exception
    "23",  # integrity constraint violation
}
_REJECTED_CODES = {
    "21000",  # cardinality_violation: two changes of a statement meet in one row; alone each is fine
    "54000",  # program_limit_exceeded: an index entry or a jsonb value is too large
    "54001",  # statement_too_complex: JSON nested too deep
}
_GONE = {"42P01", "3F000"}
_HINTS = {
    "42501": "grant the sink's role what it lacks, see the installation notes",
    "42P10": "the replica table's primary key is not the source's: alter it to match",
    "42703": "a column of the replica table is gone: put it back, or snapshot the table again",
}

_VALUE_STARTS = re.compile("[\"'«»„“”\u2018\u2019「:]")
_COPY_COLUMN = re.compile(r"^COPY \w+, line \d+, column c(\d+)\b", re.MULTILINE)
# Source files of PL/pgSQL, PL/Python, PL/Perl: the text is its author's, and may hold anything.
_LANGUAGES = "pl"
_OUR_VALUE_ERROR = "22021"


def _condition(code: str) -> str:
    try:
        return errorcodes.lookup(code).lower()
    except KeyError:
        return "unknown condition"


def _sentence(error: psycopg2.Error, columns: Sequence[str]) -> str:
    """Describe an error without the values that its text may quote: code, condition, text up to a quote."""
    code = error.pgcode or ""
    text = _VALUE_STARTS.split(error.diag.message_primary or "", maxsplit=1)[0].strip()
    if (error.diag.source_file or "").startswith(_LANGUAGES):
        text = "raised by a trigger"
    copied = _COPY_COLUMN.search(error.diag.context or "")
    column = error.diag.column_name
    if copied and int(copied[1]) < len(columns):
        column = columns[int(copied[1])]
    return f"{code} {_condition(code)}: {text}" + (f" (column {column})" if column else "")


def disposed(error: psycopg2.Error, *, where: str, columns: Sequence[str] = ()) -> CdcError:
    """Return our error for one of the driver's.

    Args:
        error: what psycopg2 raised.
        where: the table or the server, for the reader.
        columns: names of the staged columns ``c0 … cn``.
    """
    code = error.pgcode
    if code is None:
        if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            return OutageError("the connection to PostgreSQL is lost", where=where)
        return FatalError(f"the PostgreSQL driver refused a call ({type(error).__name__})", where=where)
    sentence = _sentence(error, columns)
    if code[:2] in _OUTAGE_CLASSES or code in _OUTAGE_CODES:
        return OutageError(f"PostgreSQL asks to come later: {sentence}", where=where)
    if code[:2] in _REJECTED_CLASSES or code in _REJECTED_CODES:
        return RejectedError(sentence, where=where)
    if code in _GONE:
        return FatalError(f"a table is gone that was there: {sentence}", where=where, hint=MEND_MISSING_TABLE)
    return FatalError(f"PostgreSQL refused: {sentence}", where=where, hint=_HINTS.get(code, ""))


@contextmanager
def translated(*, where: str, columns: Sequence[str] = (), data: bool = False) -> Iterator[None]:
    """Raise our errors for the driver's: the only place where they are caught.

    Args:
        where: the table or the server.
        columns: see :func:`disposed`.
        data: rows are being written: a refusal of what they hold is a ``RejectedError``, else it is fatal.
    """
    try:
        yield
    except psycopg2.Error as error:
        ours = disposed(error, where=where, columns=columns)
        if isinstance(ours, RejectedError) and not data:
            ours = FatalError(f"PostgreSQL refused: {ours.what}", where=where)
        raise ours from None
    except ValueError as error:
        if not data or "NUL" not in str(error):
            raise
        raise RejectedError(
            f"{_OUR_VALUE_ERROR} {_condition(_OUR_VALUE_ERROR)}: text can't hold NUL", where=where
        ) from None
