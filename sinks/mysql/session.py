"""A connection to MySQL for those that write bookkeeping: the outbox relay, the inbox's trimming."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pymysql
from pymysql.constants import CR, ER

from sinks.errors import FatalError, OutageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OUTAGES = frozenset(
    {
        CR.CR_CONNECTION_ERROR,
        CR.CR_CONN_HOST_ERROR,
        CR.CR_SERVER_GONE_ERROR,
        CR.CR_SERVER_LOST,
        ER.CON_COUNT_ERROR,
        ER.SERVER_SHUTDOWN,
        ER.LOCK_WAIT_TIMEOUT,
        ER.LOCK_DEADLOCK,
        ER.OPTION_PREVENTS_STATEMENT,
        0,  # the driver's own: the connection is not open any more
    }
)
_HINTS = {
    ER.NO_SUCH_TABLE: "apply sql/mysql/40-outbox.sql, or name another table under [outbox]",
    ER.BAD_DB_ERROR: "is the name of the database right?",
    ER.TABLEACCESS_DENIED_ERROR: "the grants that a relay needs are in docs/outbox.md",
    ER.ACCESS_DENIED_ERROR: "check mysql.user and mysql.password",
}
_TIMEOUT_SECONDS = 30
_IDLE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Address:
    """Where a MySQL server is, and as whom it is asked."""

    host: str
    port: int
    user: str
    password: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Address({self})"


class Session:
    """One connection, opened when first used and again after an error.

    READ COMMITTED: each statement sees what is committed when it starts.
    A session that says nothing for a minute is closed by the server, and its locks are given back: so a
    process that is frozen in the middle of a transaction does not hold others up for longer.

    Args:
        address: the server.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: pymysql.Connection[Any] | None = None

    def query(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement. Outside :meth:`transaction` each statement is its own.

        Raises:
            OutageError: the same call may succeed later; the connection is given up.
            FatalError: anything else that MySQL refuses.
        """
        with self._translated(), self._open().cursor() as cursor:
            cursor.execute(sql, tuple(arguments))
            return list(cursor.fetchall())

    def execute(self, sql: str, arguments: Sequence[object] = ()) -> int:
        """Return how many rows a statement changed; raises as :meth:`query`."""
        with self._translated(), self._open().cursor() as cursor:
            return int(cursor.execute(sql, tuple(arguments)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end of the block; roll back when it raises."""
        with self._translated():
            self._open().begin()
        try:
            yield
            with self._translated():
                self._open().commit()
        except BaseException:
            self._roll_back()
            raise

    def close(self) -> None:
        """Give the connection back. May be called twice."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            connection.close()

    def _roll_back(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.rollback()
        except pymysql.MySQLError:
            self.close()

    def _open(self) -> pymysql.Connection[Any]:
        if self._connection is None:
            address = self.address
            self._connection = pymysql.connect(
                host=address.host,
                port=address.port,
                user=address.user,
                password=address.password,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=_TIMEOUT_SECONDS,
                read_timeout=_TIMEOUT_SECONDS,
                write_timeout=_TIMEOUT_SECONDS,
                init_command=f"SET time_zone = '+00:00', wait_timeout = {_IDLE_SECONDS},"
                " transaction_isolation = 'READ-COMMITTED'",
            )
        return self._connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate the driver's errors, by number and never by message."""
        try:
            yield
        except pymysql.MySQLError as error:
            code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            where = str(self.address)
            if code in _OUTAGES:
                self.close()
                raise OutageError(f"MySQL does not answer (error {code})", where=where) from error
            raise FatalError(
                f"MySQL refuses (error {code})", where=where, hint=_HINTS.get(code, "")
            ) from error
