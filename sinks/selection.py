"""Which tables and columns a sink takes, and under which names: include, exclude, routes, renames.

Patterns are globs (``*``, ``?``, ``[…]``), matched part by part and with regard to case: ``shop.*`` is every
table of ``shop``, ``shop`` too, ``*`` is everything. The first dot ends the database's part; a database whose
own name has a dot is written with ``?`` in the dot's place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sinks.errors import FatalError
from sinks.table_schema import TableId, TableSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

_TABLE_PARTS = 2
_COLUMN_PARTS = 3
_WILD = frozenset("*?[")


def split_table(pattern: str) -> tuple[str, str]:
    """Split ``database.table``; without a dot it stands for all tables of the database.

    Raises:
        ValueError: a part is empty.
    """
    database, dot, name = pattern.partition(".")
    if not database or (dot and not name):
        raise ValueError(f"{pattern!r} is not of the form database.table")
    return database, name if dot else "*"


def split_column(pattern: str) -> tuple[str, str, str]:
    """Split ``database.table.column``.

    Raises:
        ValueError: there are not three parts.
    """
    parts = pattern.split(".", _COLUMN_PARTS - 1)
    if len(parts) != _COLUMN_PARTS or not all(parts):
        raise ValueError(f"{pattern!r} is not of the form database.table.column")
    return parts[0], parts[1], parts[2]


def is_exact(pattern: str) -> bool:
    """Tell whether a pattern has no wildcard: it stands for one name."""
    return not _WILD & set(pattern)


def _matches(table: TableId, database: str, name: str) -> bool:
    return fnmatchcase(table.database, database) and fnmatchcase(table.name, name)


def check_routes(routes: Mapping[str, str]) -> list[str]:
    """Return what is wrong with routes by themselves: malformed ones, and many tables sent to one."""
    problems: list[str] = []
    by_target: dict[str, str] = {}
    for source, target in routes.items():
        try:
            parts = zip(split_table(source), split_table(target), strict=True)
        except ValueError as error:
            problems.append(str(error))
            continue
        if any(_WILD & set(part.replace("*", "", 1)) for part in split_table(target)):
            problems.append(f"the target {target!r} may hold one '*' per part and no other wildcard")
        elif any(not is_exact(of) and "*" not in to for of, to in parts):
            problems.append(
                f"{source!r} sends several tables to one, {target!r}: put a '*' where the source has one"
            )
        elif target in by_target and is_exact(source) and is_exact(by_target[target]) and is_exact(target):
            problems.append(f"{by_target[target]!r} and {source!r} are both sent to {target!r}")
        by_target.setdefault(target, source)
    return problems


@dataclass(frozen=True)
class Selection:
    """What one sink takes. All but the memory of which source table owns which target name is immutable.

    Attributes:
        include: patterns of tables; a table must match one.
        exclude: patterns of tables that are left out all the same.
        include_columns: ``database.table.column`` patterns; a table that one of them speaks of keeps its key
            columns and the columns named, and no others.
        exclude_columns: patterns of columns that are left out.
        rename_columns: pattern of a column → its name in the target.
        routes: pattern of tables → target; in the target a ``*`` stands for the source's own name. One that
            names a table outright wins over patterns; among patterns the first that matches.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    include_columns: tuple[str, ...] = ()
    exclude_columns: tuple[str, ...] = ()
    rename_columns: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    _owners: dict[TableId, TableId] = field(default_factory=dict, compare=False, repr=False)

    def table(self, table: TableId) -> TableId | None:
        """Return the table's name in the target; None if this sink does not take it.

        Raises:
            FatalError: another source table has that name in the target already.
        """
        if not self.takes(table):
            return None
        target = self._route(table)
        owner = self._owners.setdefault(target, table)
        if owner != table:
            raise FatalError(
                f"two source tables, {owner} and {table}, are sent to one target table, {target}",
                where=str(table),
                hint="give one of them another name under routes of this sink, or exclude it",
            )
        return target

    def takes(self, table: TableId) -> bool:
        """Tell whether this sink takes the table."""
        return any(_matches(table, *split_table(pattern)) for pattern in self.include) and not any(
            _matches(table, *split_table(pattern)) for pattern in self.exclude
        )

    def columns(self, schema: TableSchema) -> tuple[tuple[int, str], ...]:
        """Return the columns taken, as pairs of index in ``schema`` (the source's) and name in the target.

        Raises:
            FatalError: a key column is excluded, or two columns get one name.
        """
        taken: dict[str, int] = {}
        for index, column in enumerate(schema.columns):
            key = column.name in schema.key
            if not self._takes_column(schema.table, column.name, key=key):
                continue
            name = self._renamed(schema.table, column.name)
            if name in taken:
                raise FatalError(
                    f"two columns of {schema.table} get the name {name!r} in the target",
                    where=f"{schema.table}.{column.name}",
                    hint="mend rename_columns of this sink",
                )
            taken[name] = index
        return tuple((index, name) for name, index in taken.items())

    def applied(self, schema: TableSchema) -> tuple[TableSchema, tuple[int, ...]] | None:
        """Return the schema as the target sees it and the source's index of each column; None: not taken."""
        table = self.table(schema.table)
        if table is None:
            return None
        chosen = self.columns(schema)
        names = {schema.columns[index].name: name for index, name in chosen}
        columns = tuple(replace(schema.columns[index], name=name) for index, name in chosen)
        key = tuple(names[name] for name in schema.key)
        return TableSchema(table, columns, key), tuple(index for index, _ in chosen)

    def _route(self, table: TableId) -> TableId:
        found = self.routes.get(str(table))
        if found is None:
            matching = (to for of, to in self.routes.items() if _matches(table, *split_table(of)))
            found = next(matching, None)
        if found is None:
            return table
        database, name = split_table(found)
        return TableId(database.replace("*", table.database), name.replace("*", table.name))

    def _takes_column(self, table: TableId, column: str, *, key: bool) -> bool:
        if any(self._names(pattern, table, column) for pattern in self.exclude_columns):
            if key:
                raise FatalError(
                    "a key column can't be excluded: rows could not be told apart",
                    where=f"{table}.{column}",
                    hint="take it out of exclude_columns of this sink, or exclude the table",
                )
            return False
        speaking = [of for of in self.include_columns if _matches(table, *split_column(of)[:_TABLE_PARTS])]
        return key or not speaking or any(self._names(pattern, table, column) for pattern in speaking)

    def _renamed(self, table: TableId, column: str) -> str:
        exact = self.rename_columns.get(f"{table}.{column}")
        if exact is not None:
            return exact
        matching = (to for of, to in self.rename_columns.items() if self._names(of, table, column))
        return next(matching, column)

    @staticmethod
    def _names(pattern: str, table: TableId, column: str) -> bool:
        database, name, of_column = split_column(pattern)
        return _matches(table, database, name) and fnmatchcase(column, of_column)
