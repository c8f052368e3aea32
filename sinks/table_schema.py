"""What is known of a source table at one point of its history: names, types, key. Immutable values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class TableId(NamedTuple):
    """A source table: from ``source.db`` and ``source.table``, never from a topic's name."""

    database: str
    name: str

    def __str__(self) -> str:
        return f"{self.database}.{self.name}"


@dataclass(frozen=True, slots=True)
class MysqlType:
    """A column's MySQL type as Debezium propagates it.

    Attributes:
        name: upper case, with UNSIGNED where it is: ``BIGINT UNSIGNED``, ``VARCHAR``, ``DATETIME``.
        length: characters, digits, bits or fractional-second digits, as the type takes it; None if not given.
        scale: digits after the point; None if not given.
        values: the allowed values of an ENUM or SET.
    """

    name: str
    length: int | None = None
    scale: int | None = None
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in the target (after renames), its MySQL type, and whether it may be NULL."""

    name: str
    type: MysqlType
    nullable: bool


@dataclass(frozen=True)
class TableSchema:
    """A table's columns in order, and the names of its key columns in key order (empty: no key).

    Frames hold the column at index ``i`` under the name ``c{i}``: no source name can collide with ours.
    """

    table: TableId
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @cached_property
    def key_indices(self) -> tuple[int, ...]:
        """Indices into ``columns`` of the key columns, in key order."""
        index = {column.name: i for i, column in enumerate(self.columns)}
        return tuple(index[name] for name in self.key)

    @cached_property
    def data_columns(self) -> tuple[str, ...]:
        """The frame's names of all columns: ``c0``, ``c1`` and so on."""
        return tuple(f"c{i}" for i in range(len(self.columns)))

    @cached_property
    def key_columns(self) -> tuple[str, ...]:
        """The frame's names of the key columns."""
        return tuple(f"c{i}" for i in self.key_indices)
