"""A session whose settings are pinned, so that neither the server's nor the role's defaults matter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from sinks.errors import ConfigError, FatalError, OutageError
from sinks.targets.postgres.identifiers import quoted
from sinks.targets.postgres.sqlstate import translated

if TYPE_CHECKING:
    from psycopg2.extensions import connection

    from sinks.targets.postgres.options import PostgresOptions

_TRANSACTION_TIMEOUT_SINCE = 170000


def server_of(dsn: str) -> str:
    """Return host, port and database of a DSN for messages; never its password.

    Raises:
        ConfigError: it is not a DSN.
    """
    try:
        parts = parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        raise ConfigError("the PostgreSQL DSN can't be read", where="postgres.dsn") from None
    host, port = parts.get("host", "localhost"), parts.get("port", "5432")
    return f"{host}:{port}/{parts.get('dbname', parts.get('user', ''))}"


def connect(dsn: str, *, application_name: str, state_schema: str, options: PostgresOptions) -> connection:
    """Open a session in autocommit mode (transactions are begun by name) with every setting pinned.

    The search path is the state schema alone: our own tables go unqualified, replicas are qualified.

    Raises:
        OutageError: the server can't be reached or refuses the login.
        FatalError: the database can't hold what MySQL holds.
    """
    defaults = {
        "connect_timeout": str(options.connect_timeout_s),
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    where = server_of(dsn)
    try:
        session = psycopg2.connect(
            make_dsn(**{**defaults, **parse_dsn(dsn), "application_name": application_name[:63]})
        )
    except psycopg2.OperationalError as error:
        # libpq names host, port, user and cause, never the password; it gives no SQLSTATE.
        raise OutageError(f"PostgreSQL can't be reached: {str(error).strip()}", where=where) from None
    try:
        with translated(where=where):
            session.autocommit = True
            _pin(session, state_schema, options)
        _require_utf8(session, where)
    except BaseException:
        session.close()
        raise
    return session


def _require_utf8(session: connection, where: str) -> None:
    encoding = session.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        raise FatalError(
            f"the database's encoding is {encoding}",
            where=where,
            hint="create it with ENCODING 'UTF8': MySQL's text would not fit",
        )


def _pin(session: connection, state_schema: str, options: PostgresOptions) -> None:
    settings = {
        "search_path": quoted(state_schema),
        "client_encoding": "UTF8",
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "postgres",
        "standard_conforming_strings": "on",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "client_min_messages": "warning",
        "jit": "off",
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{options.statement_timeout_s}s",
        "lock_timeout": f"{options.lock_timeout_s}s",
        "idle_in_transaction_session_timeout": f"{options.idle_timeout_s}s",
    }
    if session.server_version >= _TRANSACTION_TIMEOUT_SINCE:
        settings["transaction_timeout"] = f"{options.transaction_timeout_s}s"
    with session.cursor() as cursor:
        cursor.execute(
            "SELECT " + ", ".join(["set_config(%s, %s, false)"] * len(settings)),
            [text for setting in settings.items() for text in setting],
        )
