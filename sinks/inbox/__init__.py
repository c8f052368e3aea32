"""The idempotent consumer: a message's id is recorded in the transaction of its effect."""

from sinks.inbox.consumer import Consumer, ConsumerOptions
from sinks.inbox.store import Inbox

__all__ = ["Consumer", "ConsumerOptions", "Inbox"]
