"""Health: what a worker says of itself, and the judgement over sinks, connector and source."""

from sinks.health.assess import Facts, SinkFacts, SourceFacts, assess
from sinks.health.report import (
    ConnectorReport,
    ErrorReport,
    Finding,
    Lag,
    PartitionReport,
    Report,
    SinkReport,
    SourceReport,
    State,
    TaskReport,
    Thresholds,
    WorkerReport,
)
from sinks.health.status import WorkerStatus

__all__ = [
    "ConnectorReport",
    "ErrorReport",
    "Facts",
    "Finding",
    "Lag",
    "PartitionReport",
    "Report",
    "SinkFacts",
    "SinkReport",
    "SourceFacts",
    "SourceReport",
    "State",
    "TaskReport",
    "Thresholds",
    "WorkerReport",
    "WorkerStatus",
    "assess",
]
