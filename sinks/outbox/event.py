"""What an application writes: an event, into the outbox, in its own transaction."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TOPIC_PART = re.compile(r"[A-Za-z0-9._-]{1,100}")
_NAME = re.compile(r"[A-Za-z0-9_$]+(\.[A-Za-z0-9_$]+)?")
_LONGEST = 190


class Cursor(Protocol):
    """A cursor of any DB-API driver whose parameters are written ``%s``."""

    def execute(self, query: str, args: Sequence[object]) -> object:
        """Run one statement."""
        ...


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Event:
    """Something that happened (``customer.signed_up``) or is asked for (``coupon.issue``): its name tells.

    Attributes:
        aggregate_type: what it is about; the topic is ``<prefix>.<aggregate_type>``.
        aggregate_id: which one; the message's key: events of one aggregate stay in order.
        type: past tense for an event, imperative for a command.
        data: the payload: anything that JSON can hold, or JSON as text, which is sent byte for byte.
        headers: more that travels along, such as a trace id.
        source: who says it, a URI reference as CloudEvents wants it.
        id: unique; consumers know a message that they have seen by it.
        time: RFC 3339, UTC.
    """

    aggregate_type: str
    aggregate_id: str
    type: str
    data: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    source: str = "/shop"
    id: str = field(default_factory=_new_id)
    time: str = field(default_factory=_now)

    def __post_init__(self) -> None:
        if not _TOPIC_PART.fullmatch(self.aggregate_type):
            raise ValueError("aggregate_type: up to 100 letters, digits, dots, dashes and underscores")
        for name in ("aggregate_id", "type", "source"):
            if not 0 < len(getattr(self, name)) <= _LONGEST:
                raise ValueError(f"{name}: 1 to {_LONGEST} characters")

    @property
    def payload(self) -> str:
        """The payload as the JSON text that is sent."""
        if isinstance(self.data, str):
            json.loads(self.data)
            return self.data
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    @property
    def headers_text(self) -> str | None:
        """The further headers as JSON text; None if there are none."""
        return json.dumps(dict(self.headers), ensure_ascii=False) if self.headers else None


def publish(cursor: Cursor, *events: Event, table: str = "outbox") -> None:
    """Write events in the caller's transaction: they are sent if and only if it commits.

    Order within an aggregate is the order of commits. A transaction that first changes the aggregate's row
    holds its lock, so its events follow those of the one before.

    Args:
        cursor: of the connection that the business rows are written on.
        events: one or several.
        table: the outbox: ``outbox`` for the polling relay, ``outbox_log`` for the one that reads the binlog.
    """
    if not _NAME.fullmatch(table):
        raise ValueError(f"{table!r} is not a table's name")
    if not events:
        return
    row = "(%s, %s, %s, %s, %s, %s, %s, %s)"
    values: list[object] = []
    for event in events:
        values += [event.id, event.aggregate_type, event.aggregate_id, event.type, event.source, event.time]
        values += [event.headers_text, event.payload]
    columns = "message_id, aggregate_type, aggregate_id, event_type, source, occurred_at, headers, payload"
    rows = ", ".join([row] * len(events))
    cursor.execute(f"INSERT INTO {table} ({columns}) VALUES {rows}", values)  # noqa: S608 (a name, checked)
