"""The values of health, as they are printed, served and documented (docs/health.schema.json)."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat

from sinks.errors import CdcError
from sinks.redact import redacted


class State(StrEnum):
    """What a sink's worker is doing."""

    STARTING = "starting"
    RUNNING = "running"
    IDLE = "idle"
    PAUSED = "paused"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    FAILED = "failed"


class Value(BaseModel):
    """Base of the values: frozen."""

    model_config = ConfigDict(frozen=True)


class Thresholds(BaseModel):
    """``[health]``: beyond these the pipeline is not healthy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lag_seconds: PositiveFloat = 60.0
    lag_records: NonNegativeInt = 100_000
    heartbeat_seconds: PositiveFloat = 60.0


class ErrorReport(Value):
    """An error: what failed, where, and what to do."""

    what: str
    where: str = ""
    hint: str = ""

    @classmethod
    def of(cls, error: CdcError) -> ErrorReport:
        """Take over an error's texts: one line each, without passwords."""
        texts = (" ".join(redacted(text).split()) for text in (error.what, error.where, error.hint))
        return cls(**dict(zip(("what", "where", "hint"), texts, strict=True)))

    def __str__(self) -> str:
        return str(CdcError(self.what, where=self.where, hint=self.hint))


class Lag(Value):
    """How far behind."""

    records: Annotated[int, Field(ge=0, description="changes in Kafka that are not applied")] = 0
    seconds: Annotated[float, Field(ge=0, description="for how long the oldest of them has waited")] = 0.0


class PartitionReport(Value):
    """One topic-partition as the worker sees it."""

    topic: str
    partition: int
    next_offset: int
    end_offset: int
    drained: Annotated[bool, Field(description="every record before end_offset is applied")]
    gtid: str
    source_ms: int


class WatchReport(Value):
    """What a worker's process does for the connector."""

    watching: Annotated[bool, Field(description="of all processes one watches; it restarts what fails")] = (
        False
    )
    restarts: Annotated[int, Field(description="since the process's start")] = 0
    restarted_ms: Annotated[int, Field(description="the last time, ms since the epoch; 0: never")] = 0
    reason: Annotated[str, Field(description="why it was restarted the last time")] = ""


class WorkerReport(Value):
    """What a worker answers under ``/health``."""

    sink: str
    state: State
    since_ms: Annotated[int, Field(description="in this state since, ms since the epoch")]
    error: ErrorReport | None = None
    breaker: str = "closed"
    retries: Annotated[int, Field(description="tries during outages since the worker's start")] = 0
    lag: Lag = Lag()
    counts: Annotated[
        dict[str, int],
        Field(description="changes by operation: c u d r t, tombstone, replay, parked; of its partitions"),
    ] = {}
    gtid: Annotated[str, Field(description="GTID of the last applied change")] = ""
    source_ms: Annotated[int, Field(description="its commit time at the source")] = 0
    applied_ms: Annotated[int, Field(description="when it was applied")] = 0
    partitions: tuple[PartitionReport, ...] = ()
    connector: WatchReport = WatchReport()


class Finding(Value):
    """One thing that is not healthy: on what, what it is, and what to do."""

    subject: str
    what: str
    hint: str = ""


class SinkReport(Value):
    """One sink: its worker, its target and how far it is."""

    name: str
    type: str
    state: State
    since_ms: int | None = None
    error: ErrorReport | None = None
    lag: Annotated[Lag | None, Field(description="null: neither Kafka and target nor the worker tell")] = None
    gtid: str = ""
    source_ms: int = 0
    applied_ms: int = 0
    counts: dict[str, int] = {}
    dead_letters: Annotated[int, Field(description="ever")] = 0
    open_dead_letters: Annotated[int, Field(description="neither replayed nor discarded")] = 0
    parked_keys: Annotated[int, Field(description="rows whose changes wait behind a dead letter")] = 0
    breaker: Annotated[str | None, Field(description="null: no worker answers")] = None
    retries: int = 0
    target_reachable: bool
    target_error: ErrorReport | None = None
    worker_url: str


class TaskReport(Value):
    """One task of the connector."""

    id: int
    state: str
    error: str = ""


class ConnectorReport(Value):
    """The connector that captures MySQL."""

    name: str
    reachable: bool
    state: str = ""
    tasks: tuple[TaskReport, ...] = ()
    heartbeat_age_seconds: Annotated[float | None, Field(description="null: none, or Kafka is down")] = None
    watch: WatchReport = WatchReport()
    error: ErrorReport | None = None


class SourceReport(Value):
    """The MySQL server."""

    address: str
    reachable: bool
    version: str = ""
    gtid_mode: str = ""
    gtid_executed: str = ""
    error: ErrorReport | None = None


class Report(Value):
    """What ``cdc health --json`` prints."""

    healthy: bool
    summary: Annotated[str, Field(description="one sentence: why, and what to do")]
    findings: tuple[Finding, ...]
    checked_ms: int
    kafka_reachable: bool
    kafka_error: ErrorReport | None = None
    sinks: tuple[SinkReport, ...]
    connector: ConnectorReport
    source: SourceReport

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 not, 3 when nothing at all answers."""
        if self.healthy:
            return 0
        answers = [self.kafka_reachable, self.connector.reachable, self.source.reachable]
        answers += [sink.target_reachable or sink.state is not State.STOPPED for sink in self.sinks]
        return 1 if any(answers) else 3


def schema() -> str:
    """Return the JSON schema of :class:`Report`, as docs/health.schema.json holds it."""
    return json.dumps(Report.model_json_schema(mode="serialization"), indent=2) + "\n"
