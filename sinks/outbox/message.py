"""The consumer's contract: what a row of the outbox is on Kafka, whichever relay brings it.

CloudEvents 1.0 in binary content mode: the payload is the record's value, byte for byte, and the envelope is
its headers. ``connect/connectors/mysql-outbox.json`` says the same to Debezium's event router, and one suite
of tests runs over both.
"""

from __future__ import annotations

from typing import NamedTuple

from sinks.kafka.publisher import Message

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"


class Row(NamedTuple):
    """A row of the outbox, as far as a relay needs it."""

    id: int
    message_id: str
    aggregate_type: str
    aggregate_id: str
    event_type: str
    source: str
    occurred_at: str
    headers: str | None
    payload: str
    failures: int

    @property
    def aggregate(self) -> tuple[str, str]:
        """What its order is kept within."""
        return self.aggregate_type, self.aggregate_id


def topic_of(prefix: str, aggregate_type: str) -> str:
    """Return the topic that an aggregate's events go to."""
    return f"{prefix}.{aggregate_type}"


def message_of(row: Row, prefix: str) -> Message:
    """Return the message of a row."""
    return Message(
        topic_of(prefix, row.aggregate_type),
        row.aggregate_id.encode(),
        row.payload.encode(),
        (
            ("id", row.message_id.encode()),
            ("ce_id", row.message_id.encode()),
            ("ce_source", row.source.encode()),
            ("ce_type", row.event_type.encode()),
            ("ce_subject", row.aggregate_id.encode()),
            ("ce_time", row.occurred_at.encode()),
            ("ce_specversion", SPEC_VERSION.encode()),
            ("content-type", CONTENT_TYPE.encode()),
            ("headers", None if row.headers is None else row.headers.encode()),
        ),
    )
