"""Carries out what operators ask of parked keys: their dead letters are applied, or given up.

The worker that owns a key's partition does it, between two batches and in the target's thread: so nobody is
raced, and a request that is made while no worker runs waits for one.
"""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from sinks.change import OFFSET_BITS
from sinks.envelope import Records
from sinks.errors import RejectedError
from sinks.targets.base import Batch, Release, Request, RowChanges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sinks.change import Progress, TopicPartition
    from sinks.envelope import ChangeReader
    from sinks.kafka.letters import Letter, LetterReader
    from sinks.targets.base import ParkedKey, Rejection, Segment, Target

log = logging.getLogger(__name__)

_LETTERS = 20_000
_BYTES = 16 << 20
_OFFSET = (1 << OFFSET_BITS) - 1


@dataclass
class _Open:
    """A parked key and those of its open letters that are at hand, by version."""

    held: ParkedKey
    letters: dict[int, Letter] = field(default_factory=dict)


def open_letters(parked: Iterable[ParkedKey], reader: LetterReader) -> dict[tuple[str, bytes], list[Letter]]:
    """Return the open dead letters of parked keys, each once and in order.

    Raises:
        OutageError: Kafka does not answer.
    """
    keys = {(held.topic, held.key): _Open(held) for held in parked}
    if not keys:
        return {}
    for letter in reader.read(min(of.held.parked_ms for of in keys.values())):
        of = keys.get((letter.partition.topic, letter.key))
        if of is not None and of.held.first <= letter.version <= of.held.last:
            of.letters.setdefault(letter.version, letter)
    return {key: [of.letters[version] for version in sorted(of.letters)] for key, of in keys.items()}


class Redelivery:
    """Carries out requests on one target.

    Args:
        target: whose keys are parked.
        letters: reads its dead letters.
        reader: turns records into changes.
    """

    def __init__(self, target: Target, letters: LetterReader, reader: ChangeReader) -> None:
        self._target = target
        self._letters = letters
        self._reader = reader

    def carry_out(self, positions: Mapping[TopicPartition, Progress]) -> int:
        """Do what is asked for the keys of these partitions; return for how many keys that was.

        1. Read the requests, the parked keys and their open letters.
        2. Apply the letters of each key in order, or none to give them up; the same transaction releases the
           key, or leaves it parked from the first letter that is refused again.
        3. Remove the request. A crash before this carries it out again: there is nothing left of it to do.
        """
        owned = {(p.topic, p.partition) for p in positions}
        asked = {(r.topic, r.key): r for r in self._target.requests() if (r.topic, r.partition) in owned}
        if not asked:
            return 0
        parked = [held for held in self._target.parked() if (held.topic, held.key) in asked]  # 1
        for chunk in _chunks(parked, asked):
            replayed = [of for of in chunk if asked[of.topic, of.key].action == "replay"]
            found = open_letters(replayed, self._letters)
            for held in chunk:
                request = asked[held.topic, held.key]
                letters = found.get((held.topic, held.key), [])
                try:
                    self._carry_out(request, held, letters, positions)  # 2
                except RejectedError as error:
                    log.warning("%s: the key stays parked", error, extra={"action": "edit_refused"})
        self._target.answered(list(asked.values()))  # 3
        return len(parked)

    def _carry_out(
        self,
        request: Request,
        held: ParkedKey,
        letters: Sequence[Letter],
        positions: Mapping[TopicPartition, Progress],
    ) -> None:
        partition = next(p for p in positions if (p.topic, p.partition) == (request.topic, request.partition))
        progress = {partition: positions[partition]}
        refused: list[Rejection] = []
        if request.action == "discard":
            release = Release(held.topic, held.key, held.last, held.letters)
            self._target.apply(Batch((), progress, releases=[release]), refused.extend)
        else:
            if len(letters) != held.letters:
                log.warning(
                    "%d of %d dead letters are in the topic: the key stays parked",
                    len(letters),
                    held.letters,
                    extra={"action": "letters_missing", "topic": held.topic},
                )
                return
            for part in _parts(letters):
                segments, undecodable = self._changes(part, request)
                through = held.last if part[-1] is letters[-1] else part[-1].version
                release = Release(held.topic, held.key, through, len(part))
                batch = Batch(segments, progress, undecodable, [release])
                self._target.apply(batch, refused.extend)
                if refused:
                    break
        log.info(
            "%s of a parked key: %d dead letters, %d parked again",
            request.action,
            held.letters,
            len(refused),
            extra={"action": "redelivered", "topic": held.topic, "partition": request.partition},
        )

    def _changes(self, letters: Sequence[Letter], request: Request) -> tuple[list[Segment], list[Rejection]]:
        generation = letters[0].generation
        rows, undecodable = read_letters(letters, self._reader)
        edits = {version & _OFFSET: of for version, of in request.edits.items()}
        segments: list[Segment] = [edited(replace(of, generation=generation), edits) for of in rows]
        return segments, [replace(of, generation=generation) for of in undecodable]


def read_letters(letters: Sequence[Letter], reader: ChangeReader) -> tuple[list[RowChanges], list[Rejection]]:
    """Decode letters of one partition and generation."""
    records = Records(
        letters[0].partition,
        [letter.offset for letter in letters],
        [letter.raw_key for letter in letters],
        [letter.value for letter in letters],
    )
    changes = reader.read_again(records)
    return [of for of in changes.segments if isinstance(of, RowChanges)], changes.rejections


def edited(changes: RowChanges, edits: Mapping[int, Mapping[str, Any]]) -> RowChanges:
    """Put new values in the place of those in some rows.

    Args:
        changes: the rows.
        edits: by offset and name of the column in the target.

    Raises:
        RejectedError: there is no such column, it is of the key, or it can't hold the value.
    """
    frame = changes.frame
    names = {column.name: i for i, column in enumerate(changes.schema.columns)}
    for offset, values in edits.items():
        chosen = (pl.col("offset") == offset) & ~pl.col("deleted")
        for name, value in values.items():
            if name not in names or name in changes.schema.key:
                raise RejectedError(f"column {name!r} can't be edited: it is of the key, or there is none")
            column = f"c{names[name]}"
            new = _series(name, value, frame.schema[column])
            frame = frame.with_columns(pl.when(chosen).then(pl.lit(new)).otherwise(column).alias(column))
    return replace(changes, frame=frame)


def _series(name: str, value: Any, dtype: pl.DataType) -> pl.Series:  # noqa: ANN401 (parsed JSON)
    """Return a value of JSON as one of a frame's column."""
    try:
        if isinstance(value, str) and dtype == pl.Binary:
            return pl.Series([base64.b64decode(value, validate=True)], dtype=dtype)
        if isinstance(value, str) and dtype.is_temporal():
            return pl.Series([value], dtype=pl.String).str.strptime(dtype, strict=True)  # type: ignore[arg-type]
        return pl.Series([value], dtype=dtype, strict=True)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise RejectedError(f"column {name!r} can't hold the edited value") from error


def _chunks(
    parked: Sequence[ParkedKey], asked: Mapping[tuple[str, bytes], Request]
) -> Iterator[list[ParkedKey]]:
    """Yield keys of so many letters at a time that they fit in memory; what is discarded needs none read."""
    chunk: list[ParkedKey] = []
    letters = 0
    for held in parked:
        needed = held.letters if asked[held.topic, held.key].action == "replay" else 0
        if chunk and letters + needed > _LETTERS:
            yield chunk
            chunk, letters = [], 0
        chunk.append(held)
        letters += needed
    if chunk:
        yield chunk


def _parts(letters: Sequence[Letter]) -> Iterator[list[Letter]]:
    """Cut the letters of one key into batches of one partition and generation."""
    part: list[Letter] = []
    size = 0
    for letter in letters:
        full = len(part) >= _LETTERS or size + letter.size > _BYTES
        if part and (
            full or (letter.partition, letter.generation) != (part[0].partition, part[0].generation)
        ):
            yield part
            part, size = [], 0
        part.append(letter)
        size += letter.size
    if part:
        yield part
