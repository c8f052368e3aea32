"""What a sink knows of its partitions: claimed under a lease, committed with the rows."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sinks.change import Progress, SchemaPosition, TopicPartition, Watermark
from sinks.errors import FatalError, FencedError
from sinks.targets.base import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from psycopg2.extensions import cursor as Cursor  # noqa: N812 (the driver's name is lower case)

    from sinks.targets.base import Claim

_LOG = logging.getLogger(__name__)
_POLL_S = 0.02
_TERMINATE_MS = 5000

_FIELDS = (
    "next_offset, watermark, gtid, source_ms, counts, lease,"
    " coalesce((extract(epoch FROM committed_at) * 1000)::bigint, 0), schema_topic_id, schema_offset"
)
_HOLDERS = """
SELECT DISTINCT a.pid, a.backend_start, a.xact_start
FROM partition p
JOIN pg_catalog.pg_stat_activity a ON a.pid = p.backend_pid AND a.backend_start = p.backend_start
JOIN (VALUES {claimed}) v (topic, partition) ON v.topic = p.topic AND v.partition = p.partition
WHERE p.sink = %s AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
"""
_TERMINATE = """
SELECT pg_terminate_backend(pid, %s) FROM pg_catalog.pg_stat_activity
WHERE pid = %s AND backend_start = %s AND xact_start = %s
"""
_CLAIM = f"""
INSERT INTO partition AS p (sink, topic, partition, lease, backend_pid, backend_start)
SELECT %s, %s, %s, 1, a.pid, a.backend_start
FROM pg_catalog.pg_stat_activity a WHERE a.pid = pg_backend_pid()
ON CONFLICT (sink, topic, partition) DO UPDATE
SET lease = p.lease + 1, backend_pid = EXCLUDED.backend_pid, backend_start = EXCLUDED.backend_start
RETURNING {_FIELDS}
"""  # noqa: S608 (a constant)
_ADVANCE = """
UPDATE partition p
SET next_offset = v.next_offset, watermark = v.watermark, gtid = v.gtid, source_ms = v.source_ms,
    counts = v.counts, committed_at = clock_timestamp(),
    schema_topic_id = v.schema_topic_id, schema_offset = v.schema_offset
FROM (VALUES {values}) v
    (topic, partition, lease, next_offset, watermark, gtid, source_ms, counts, schema_topic_id, schema_offset)
WHERE p.sink = %s AND p.topic = v.topic AND p.partition = v.partition
  AND p.lease = v.lease AND p.next_offset <= v.next_offset
"""
_ADVANCED = "(%s, %s, %s::bigint, %s::bigint, %s::jsonb, %s, %s::bigint, %s::jsonb, %s, %s::bigint)"


def _stored(generation: int, fields: Sequence[Any]) -> Stored:
    next_offset, watermark, gtid, source_ms, counts, lease, committed_ms, *schema = fields
    progress = Progress(
        next_offset, Watermark.from_json(watermark), gtid, source_ms, counts, SchemaPosition(*schema)
    )
    return Stored(progress, generation, lease, committed_ms)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), separators=(",", ":"))


def read_all(cursor: Cursor, sink: str) -> dict[TopicPartition, Stored]:
    """Read every partition of a sink; none before the first migration."""
    cursor.execute("SELECT to_regclass('partition') IS NOT NULL")
    if not (cursor.fetchone() or (False,))[0]:
        return {}
    cursor.execute(
        f"SELECT p.topic, p.partition, t.generation, {_FIELDS}"  # noqa: S608 (a constant)
        " FROM partition p JOIN topic t USING (sink, topic) WHERE p.sink = %s",
        (sink,),
    )
    return {
        TopicPartition(topic, partition): _stored(generation, fields)
        for topic, partition, generation, *fields in cursor.fetchall()
    }


def evict(
    cursor: Cursor,
    sink: str,
    partitions: Sequence[TopicPartition],
    *,
    grace_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait for the transactions that earlier owners are in; terminate those that don't end in time.

    An idle session holds no locks and is left alone: its lease is outrun. A frozen one would hold its rows'
    locks. A process id may have been used again, so the session's start is compared as well.
    """
    query = _HOLDERS.format(claimed=", ".join(["(%s, %s)"] * len(partitions)))
    arguments = [value for partition in partitions for value in partition] + [sink]
    first: set[tuple[int, datetime, datetime]] | None = None
    deadline = clock() + grace_s
    while True:
        cursor.execute(query, arguments)
        busy = {(pid, begun, transaction) for pid, begun, transaction in cursor.fetchall()}
        first = busy if first is None else first & busy
        if not first:
            return
        if clock() >= deadline:
            break
        sleep(_POLL_S)
    for pid, begun, transaction in first:
        cursor.execute(_TERMINATE, (_TERMINATE_MS, pid, begun, transaction))
        _LOG.warning(
            "terminated the session of an earlier owner that does not end its transaction",
            extra={"action": "owner_terminated", "sink": sink, "backend_pid": pid},
        )


def claim(cursor: Cursor, sink: str, claims: Iterable[Claim]) -> dict[TopicPartition, Stored]:
    """Raise the lease of partitions, inside a transaction, and return where each goes on."""
    by_topic: defaultdict[str, list[Claim]] = defaultdict(list)
    for wanted in claims:
        by_topic[wanted.partition.topic].append(wanted)
    result: dict[TopicPartition, Stored] = {}
    for topic in sorted(by_topic):  # one order for everybody: no deadlock between two claims
        generation = _generation(cursor, sink, by_topic[topic][0])
        for wanted in sorted(by_topic[topic], key=lambda claimed: claimed.partition):
            cursor.execute(_CLAIM, (sink, *wanted.partition))
            fields = cursor.fetchone()
            if fields is None:
                raise FatalError("this session does not see itself", where="pg_stat_activity")
            result[wanted.partition] = _stored(generation, fields)
    return result


def _generation(cursor: Cursor, sink: str, claimed: Claim) -> int:
    """Lock the topic's row and return its generation, raised if Kafka knows the topic otherwise now."""
    topic = claimed.partition.topic
    cursor.execute(
        "INSERT INTO topic (sink, topic, topic_id, partitions) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (sink, topic, claimed.topic_id, claimed.partitions),
    )
    cursor.execute(
        "SELECT topic_id, partitions, generation FROM topic WHERE sink = %s AND topic = %s FOR UPDATE",
        (sink, topic),
    )
    topic_id, partitions, generation = cursor.fetchone() or ("", 0, 0)
    if (topic_id, partitions) == (claimed.topic_id, claimed.partitions):
        return int(generation)
    cursor.execute(
        "UPDATE topic SET topic_id = %s, partitions = %s, generation = generation + 1"
        " WHERE sink = %s AND topic = %s RETURNING generation",
        (claimed.topic_id, claimed.partitions, sink, topic),
    )
    (generation,) = cursor.fetchone() or (0,)
    if topic_id != claimed.topic_id:
        # All partitions start over, also those that other workers claim later; who holds one is fenced.
        cursor.execute(
            "UPDATE partition SET next_offset = 0, watermark = '{}', gtid = '', source_ms = 0,"
            " lease = lease + 1 WHERE sink = %s AND topic = %s",
            (sink, topic),
        )
    _LOG.info(
        "topic has a new generation",
        extra={"action": "generation_raised", "topic": topic, "generation": generation},
    )
    return int(generation)


def advance(
    cursor: Cursor,
    sink: str,
    progress: Mapping[TopicPartition, Progress],
    leases: Mapping[TopicPartition, int],
) -> None:
    """Store how far partitions are, as the last statement of a batch.

    Raises:
        FencedError: a partition was claimed by another worker.
        FatalError: an offset would go back.
    """
    if not progress:
        return
    arguments: list[object] = []
    for partition, now in sorted(progress.items()):
        arguments += (*partition, leases[partition], now.next_offset, _json(now.watermark.as_json()))
        arguments += (now.gtid, now.source_ms, _json(now.counts), *now.schema)
    cursor.execute(_ADVANCE.format(values=", ".join([_ADVANCED] * len(progress))), [*arguments, sink])
    if cursor.rowcount == len(progress):
        return
    held = read_all(cursor, sink)
    for partition, now in progress.items():
        there = held.get(partition)
        if there is None or there.lease != leases[partition]:
            raise FencedError("another worker has claimed the partition", where=str(partition))
        if there.progress.next_offset > now.next_offset:
            raise FatalError(
                f"the offset would go back from {there.progress.next_offset} to {now.next_offset}",
                where=str(partition),
            )
    raise FatalError("the progress of a batch was not stored", where=sink)
