"""The transactional outbox: events written with the business rows, and relays that bring them to Kafka."""

from sinks.outbox.event import Event, publish

__all__ = ["Event", "publish"]
