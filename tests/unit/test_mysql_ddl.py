"""What a statement says that the table afterwards does not."""

from __future__ import annotations

import pytest

from sinks.mysql_ddl import Default, Statement, read
from sinks.table_schema import TableId


@pytest.mark.parametrize(
    ("ddl", "renamed"),
    [
        ("ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a", {"b": "a", "a": "b"}),
        ("ALTER TABLE `d`.`t` CHANGE COLUMN a `b c` VARCHAR(20) NOT NULL DEFAULT 'x, y' FIRST", {"b c": "a"}),
        ("alter table t change `column` b bigint", {"b": "column"}),
        ("ALTER TABLE t CHANGE a a BIGINT", {}),
        ("ALTER TABLE t MODIFY a BIGINT, RENAME INDEX x TO y, RENAME KEY p TO q", {}),
        # With a clause that no parser needs to know beside it.
        ("ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4, RENAME COLUMN a TO b, ALGORITHM=COPY", {"b": "a"}),
        ("ALTER TABLE t /* RENAME COLUMN x TO y */ RENAME COLUMN `x``y` TO z -- end", {"z": "x`y"}),
        ("CREATE TABLE t (a INT)", {}),
        ("ALTER TABLE t ADD `broken", {}),
    ],
)
def test_renamed_columns(ddl: str, renamed: dict[str, str]) -> None:
    assert read(ddl).renamed == renamed


@pytest.mark.parametrize(
    ("definition", "default"),
    [
        ("INT", Default()),
        ("INT DEFAULT NULL", Default()),
        ("INT NOT NULL DEFAULT -5 AFTER b", Default("-5")),
        ("VARCHAR(9) DEFAULT 'it''s, \\'x\\''", Default("it's, 'x'")),
        ("VARCHAR(9) DEFAULT _utf8mb4'x'", Default("x")),
        ("BIT(4) DEFAULT b'101'", Default(b"\x05")),
        ("BINARY(3) DEFAULT 0x4142", Default(b"AB")),
        ("BOOL DEFAULT TRUE", Default("1")),
        ("ENUM('a,b','c') DEFAULT 'a,b'", Default("a,b")),
        ("DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)", Default(known=False)),
        ("VARCHAR(9) DEFAULT (UPPER('x'))", Default(known=False)),
        ("INT GENERATED ALWAYS AS (a + 1) STORED", Default(known=False)),
        ("INT AUTO_INCREMENT UNIQUE", Default(known=False)),
    ],
)
def test_what_rows_that_are_there_get(definition: str, default: Default) -> None:
    for clause in (
        f"ADD x {definition}",
        f"DROP x, ADD COLUMN x {definition}",
        f"ADD (y INT, x {definition})",
    ):
        assert read(f"ALTER TABLE t {clause}").added["x"] == default


def test_indices_are_no_columns() -> None:
    ddl = "ALTER TABLE t ADD KEY (x), ADD UNIQUE INDEX u (y), ADD PRIMARY KEY (z), ADD CHECK (x > 0)"
    assert read(ddl) == Statement()


@pytest.mark.parametrize(
    ("ddl", "tables"),
    [
        ("RENAME TABLE a TO b, `c` TO d.e", {("", "a"): ("", "b"), ("", "c"): ("d", "e")}),
        ("ALTER TABLE d.t RENAME TO u", {("d", "t"): ("", "u")}),
        ("ALTER TABLE t RENAME AS d.u", {("", "t"): ("d", "u")}),
        ("ALTER TABLE t RENAME u", {("", "t"): ("", "u")}),
        ("ALTER TABLE t RENAME COLUMN a TO b", {}),
    ],
)
def test_renamed_tables(ddl: str, tables: dict[tuple[str, str], tuple[str, str]]) -> None:
    assert read(ddl).tables == {TableId(*old): TableId(*new) for old, new in tables.items()}
