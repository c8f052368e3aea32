"""What is parked in one sink, as ``cdc dlq`` looks at it: keys with their letters, chosen and shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sinks.errors import ConfigError, RejectedError
from sinks.redelivery import edited, open_letters, read_letters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinks.config import Config, SinkConfig
    from sinks.envelope import ChangeReader
    from sinks.kafka.letters import Letter, LetterReader
    from sinks.targets.base import ParkedKey, Target
    from sinks.wire.base import Wire


@dataclass(frozen=True)
class Entry:
    """A parked key of a sink, with its open letters in order."""

    sink: str
    prefix: str
    held: ParkedKey
    letters: Sequence[Letter]

    @property
    def table(self) -> str:
        """The table in the target; as the topic says where no record of the key could be read."""
        return str(self.held.table or self.held.topic.removeprefix(f"{self.prefix}."))

    def is_of(self, tables: Sequence[str]) -> bool:
        """Tell whether the key is of one of these tables, as source or target name them."""
        return self.table in tables or self.held.topic.removeprefix(f"{self.prefix}.") in tables

    def as_json(self) -> dict[str, Any]:
        """Return it without row values; the key's are values of the row too."""
        return {
            "sink": self.sink,
            "table": self.table,
            "topic": self.held.topic,
            "partition": self.held.partition,
            "reason": self.held.reason,
            "parked_ms": self.held.parked_ms,
            "open": self.held.letters,
            "letters": [{"id": letter.id, "reason": letter.reason} for letter in self.letters],
        }


@dataclass(frozen=True)
class Pick:
    """Which keys an operator chose."""

    ids: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    key: str | None = None


def picked(ids: list[str] | None, tables: list[str] | None, key: str | None, *, every: bool) -> Pick:
    """Check a choice.

    Raises:
        ConfigError: nothing is chosen, or too many ways.
    """
    if key is not None and len(tables or ()) != 1:
        raise ConfigError("--key goes with one --table", where="--key")
    if sum([bool(ids), bool(tables), every]) != 1:
        raise ConfigError("choose by ID, by --table (with --key), or --all", where="cdc dlq")
    return Pick(tuple(ids or ()), tuple(tables or ()), key)


@dataclass(frozen=True)
class Desk:
    """One sink's parked keys, and what reads them."""

    sink: str
    prefix: str
    target: Target
    reader: ChangeReader
    letters: LetterReader
    wire: Wire

    @classmethod
    def open(cls, config: Config, sink: SinkConfig) -> Desk:
        """Make the desk of a sink; connects when it is first used."""
        from sinks import app  # noqa: PLC0415 (targets are loaded by the command that needs them)

        return cls(
            sink.name,
            config.kafka.topic_prefix,
            app.open_target(sink),
            app.open_reader(config, sink),
            app.open_letters(config, sink),
            app.open_wire(config),
        )

    def entries(self) -> list[Entry]:
        """Return what is parked, in the order of parking."""
        parked = self.target.parked()
        letters = open_letters(parked, self.letters)
        return [Entry(self.sink, self.prefix, held, letters[held.topic, held.key]) for held in parked]

    def key_values(self, letter: Letter) -> Mapping[str, Any] | None:
        """Return a letter's key by column; None if there is none, or it can't be read."""
        if letter.raw_key is None:
            return None
        try:
            return self.wire.key_values(letter.raw_key)
        except RejectedError:
            return None

    def told(self, entry: Entry, letter: Letter, *, values: bool) -> dict[str, Any]:
        """Return all that is known of a letter; its row only if asked for."""
        told: dict[str, Any] = {
            "id": letter.id,
            "sink": entry.sink,
            "table": entry.table,
            "reason": entry.held.reason if letter.version == entry.held.first else letter.reason,
            "topic": letter.partition.topic,
            "partition": letter.partition.partition,
            "offset": letter.offset,
            "generation": letter.generation,
            "timestamp_ms": letter.timestamp_ms,
            "key": self.key_values(letter),
            "open_of_key": entry.held.letters,
        }
        if values:
            told["rows"] = self._rows(letter)
        return json.loads(json.dumps(told, default=_plain))  # type: ignore[no-any-return]

    def checked_edits(
        self, entry: Entry, letter_id: str, values: Mapping[str, Any]
    ) -> dict[int, Mapping[str, Any]]:
        """Return edits as a request has them.

        Raises:
            ConfigError: a column can't hold its value, or the record can't be read at all.
        """
        letter = next(of for of in entry.letters if of.id == letter_id)
        rows, refused = read_letters([letter], self.reader)
        if refused or not rows:
            raise ConfigError("what can't be decoded can't be edited", where=letter_id)
        try:
            for of in rows:
                edited(of, {letter.offset: values})
        except RejectedError as error:
            raise ConfigError(error.what, where="--edit") from error
        return {letter.version: values}

    def _rows(self, letter: Letter) -> list[dict[str, Any]] | str:
        rows, refused = read_letters([letter], self.reader)
        if refused:
            return refused[0].reason
        return [
            {"deleted": row["deleted"]} | {c.name: row[f"c{i}"] for i, c in enumerate(changes.schema.columns)}
            for changes in rows
            for row in changes.frame.iter_rows(named=True)
        ]


def chosen_keys(desk: Desk, pick: Pick) -> list[Entry]:
    """Return the parked keys that a choice names."""
    entries = desk.entries()
    if pick.ids:
        return [entry for entry in entries if any(letter.id in pick.ids for letter in entry.letters)]
    if pick.tables:
        entries = [entry for entry in entries if entry.is_of(pick.tables)]
    if pick.key is not None:
        entries = [entry for entry in entries if _has_key(desk, entry, pick.key)]
    return entries


def key_text(entry: Entry) -> str:
    """Return table and first letter of a key, for people."""
    return f"{entry.table} ({entry.letters[0].id})" if entry.letters else entry.table


def _has_key(desk: Desk, entry: Entry, wanted: str) -> bool:
    values = desk.key_values(entry.letters[0]) if entry.letters else None
    if values is None:
        return False
    if len(values) == 1 and str(next(iter(values.values()))) == wanted:
        return True
    try:
        return bool(json.loads(wanted) == json.loads(json.dumps(values, default=_plain)))
    except ValueError:
        return False


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
