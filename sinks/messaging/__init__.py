"""Messages sent after a commit, and what becomes of them when Kafka does not take them."""

from sinks.messaging.after_commit import AfterCommit, Policy
from sinks.messaging.failure_log import FailureLog

__all__ = ["AfterCommit", "FailureLog", "Policy"]
