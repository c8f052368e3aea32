"""Numbered SQL files bring the state schema up to date: once each, in order, under an advisory lock."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sinks.errors import FatalError
from sinks.targets.postgres.identifiers import quoted, stored_name
from sinks.targets.postgres.sqlstate import translated

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the driver's name is lower case)

_LOG = logging.getLogger(__name__)
# Any constant that nobody else uses; the second number tells our locks apart.
LOCK_SPACE = 0x636463
_MIGRATION_LOCK = 1

_BOOTSTRAP = """
CREATE TABLE IF NOT EXISTS migration (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file: ``0001_state.sql``."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Fingerprint of the text: a migration that was applied must not change."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def directory() -> Path:
    """Return where the migrations are: in the installed package, or in the source tree's ``sql``."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "sql" / "postgres"


def load(folder: Path) -> list[Migration]:
    """Read the migrations of a folder in order of their numbers.

    Raises:
        FatalError: there are none, or their numbers don't run from 1 without a gap.
    """
    found = [
        Migration(int(path.stem.split("_", 1)[0]), path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("[0-9]*.sql"))
    ]
    if not found or [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise FatalError("the migrations of the state schema are not complete", where=folder.name)
    return found


def migrate(cursor: Cursor, migrations: list[Migration], *, state_schema: str, where: str) -> None:
    """Apply the migrations that the database lacks, all in one transaction.

    Raises:
        FatalError: an applied migration differs from its file, or the database is ahead of this version.
    """
    with translated(where=where):
        cursor.execute("SELECT to_regclass('migration') IS NOT NULL")
        (known,) = cursor.fetchone() or (False,)
        if known and not _missing(cursor, migrations, where):
            return
        cursor.execute("BEGIN")
        try:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_SPACE, _MIGRATION_LOCK))
            _make_schema(cursor, state_schema)
            cursor.execute(_BOOTSTRAP)
            for migration in _missing(cursor, migrations, where):
                cursor.execute(migration.sql)
                cursor.execute(
                    "INSERT INTO migration (number, name, sha256) VALUES (%s, %s, %s)",
                    (migration.number, migration.name, migration.sha256),
                )
                _LOG.info("migration applied", extra={"action": "migrated", "migration": migration.name})
        except BaseException:
            if not cursor.connection.closed:
                cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")


def _make_schema(cursor: Cursor, name: str) -> None:
    cursor.execute("SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", (stored_name(name),))
    if not cursor.rowcount:
        # Asked before, for IF NOT EXISTS wants the right to create schemas even where it has nothing to do.
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(name)}")


def _missing(cursor: Cursor, migrations: list[Migration], where: str) -> list[Migration]:
    cursor.execute("SELECT number, sha256 FROM migration")
    applied: dict[int, str] = dict(cursor.fetchall())
    ahead = applied.keys() - {migration.number for migration in migrations}
    if ahead:
        raise FatalError(
            f"the state schema has migration {max(ahead)}, this version knows {len(migrations)}",
            where=where,
            hint="run the version that made it, or a newer one",
        )
    for migration in migrations:
        if applied.get(migration.number, migration.sha256) != migration.sha256:
            raise FatalError(
                f"migration {migration.name} was applied with another text",
                where=where,
                hint="a migration never changes once released: add a new one",
            )
    return [migration for migration in migrations if migration.number not in applied]
