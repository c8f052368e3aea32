"""What health asks of the MySQL source: version, GTID mode, GTIDs executed."""

from __future__ import annotations

from dataclasses import dataclass

import pymysql
from pymysql.constants import CR

from sinks.errors import FatalError, OutageError

_OUTAGES = frozenset(
    {CR.CR_CONNECTION_ERROR, CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, 1040, 1053}
)
_ACCESS_DENIED = 1045


@dataclass(frozen=True, slots=True)
class SourceState:
    """The server's version, ``gtid_mode`` and ``gtid_executed``."""

    version: str
    gtid_mode: str
    gtid_executed: str


def source_state(host: str, port: int, user: str, password: str, timeout_seconds: int = 5) -> SourceState:
    """Ask the server once, on a connection of its own.

    Raises:
        OutageError: it can't be reached.
        FatalError: it refuses the user, or the question.
    """
    where = f"{host}:{port}"
    try:
        with (
            pymysql.connect(
                host=host,
                port=port,
                user=user,
                password=password,
                connect_timeout=timeout_seconds,
                read_timeout=timeout_seconds,
                charset="utf8mb4",
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT @@version, @@global.gtid_mode, @@global.gtid_executed")
            row = cursor.fetchone()
    except pymysql.MySQLError as error:
        code = error.args[0] if error.args else 0
        if code == _ACCESS_DENIED:
            raise FatalError(
                f"MySQL refuses the user {user!r}",
                where=where,
                hint="check mysql.user and mysql.password",
            ) from error
        kind = OutageError if code in _OUTAGES else FatalError
        raise kind(
            f"MySQL can't be asked (error {code})",
            where=where,
            hint="is it running? check mysql.host and mysql.port; ./scripts/up starts a local one",
        ) from error
    if row is None:
        raise FatalError("MySQL answers nothing to a question about its own settings", where=where)
    version, mode, executed = (str(value) for value in row)
    return SourceState(version, mode, executed.replace("\n", ""))
