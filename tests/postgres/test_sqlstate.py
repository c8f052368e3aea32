"""The table of SQLSTATEs: every condition has one disposition, unknown ones are fatal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from sinks.errors import CdcError, ConfigError, FatalError, OutageError, RejectedError
from sinks.targets.postgres.connection import server_of
from sinks.targets.postgres.sqlstate import disposed, translated


class FakeError(psycopg2.Error):
    """The driver's own can't be given a code: these shadow its read-only attributes."""

    pgcode: Any = None
    diag: Any = None

    def __init__(self, code: str | None, message: str = "", context: str = "") -> None:
        super().__init__(message)
        self.pgcode = code
        self.diag = SimpleNamespace(
            message_primary=message, context=context, column_name=None, source_file="x.c"
        )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *[(code, OutageError) for code in ("08006", "57P01", "53300", "53100", "25006", "55P03", "40P01")],
        *[(code, OutageError) for code in ("40001", "57014", "25P03", "25P04", "57P03")],
        *[(code, RejectedError) for code in ("22021", "22003", "23502", "54000", "54001", "21000")],
        *[(code, FatalError) for code in ("42501", "42P01", "XX000", "P0001", "0A000", "42601", "ZZZZZ")],
        (None, FatalError),
    ],
)
def test_disposition(code: str | None, expected: type[CdcError]) -> None:
    assert type(disposed(FakeError(code), where="x")) is expected


def test_a_lost_connection_has_no_code() -> None:
    for error in (psycopg2.OperationalError(), psycopg2.InterfaceError()):
        assert isinstance(disposed(error, where="x"), OutageError)


@pytest.mark.parametrize(
    "message",
    [
        'invalid input syntax for type integer: "hush"',
        "ungültige Eingabesyntax für Typ integer: „hush“",
        "syntaxe en entrée invalide pour le type integer : « hush »",
        'value "hush" is out of range for type integer',
    ],
)
def test_reasons_hold_no_values(message: str) -> None:
    error = disposed(
        FakeError("22P02", message, 'COPY cdc_stage_1, line 3, column c1: "hush"'),
        where="shop.t",
        columns=("a", "b"),
    )
    assert "hush" not in str(error)
    assert "(column b)" in str(error)
    assert "22P02 invalid_text_representation" in str(error)


def test_data_is_refused_only_where_data_is_written() -> None:
    with pytest.raises(FatalError), translated(where="x"):
        raise FakeError("23505")
    with pytest.raises(RejectedError), translated(where="x", data=True):
        raise FakeError("23505")
    with pytest.raises(RejectedError, match="22021"), translated(where="x", data=True):
        raise ValueError("A string literal cannot contain NUL (0x00) characters.")
    with pytest.raises(ValueError, match="else"), translated(where="x", data=True):
        raise ValueError("something else")


def test_a_server_is_named_without_its_password() -> None:
    assert server_of("postgresql://u:hush@db:6543/replica") == "db:6543/replica"
    with pytest.raises(ConfigError) as error:
        server_of("postgresql://u:hush@[")
    assert "hush" not in str(error.value)
