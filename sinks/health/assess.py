"""The judgement: from what the worker, Kafka, the target, Connect and MySQL answer, to one report. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sinks.health.report import (
    ConnectorReport,
    ErrorReport,
    Finding,
    Lag,
    Report,
    SinkReport,
    SourceReport,
    State,
    TaskReport,
    Thresholds,
    WatchReport,
    WorkerReport,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sinks.change import TopicPartition
    from sinks.connect_api import ConnectorStatus
    from sinks.errors import CdcError
    from sinks.kafka.admin import Remaining
    from sinks.mysql.source import SourceState
    from sinks.targets.base import Stored

_MS = 1000


@dataclass(frozen=True)
class SinkFacts:
    """What could be learnt of one sink.

    Attributes:
        name: of the sink.
        type: of its target.
        worker_url: where its worker should answer.
        worker: what the worker says; None: it does not answer.
        stored: what the target holds; None: see ``target_error``.
        target_error: why the target could not be asked.
        remaining: what Kafka still has for it; None: Kafka or the target could not be asked.
        parked_keys: how many keys are parked in its target.
        open_letters: how many dead letters these keys have.
    """

    name: str
    type: str
    worker_url: str
    worker: WorkerReport | None = None
    stored: Mapping[TopicPartition, Stored] | None = None
    target_error: CdcError | None = None
    remaining: Mapping[TopicPartition, Remaining] | None = None
    parked_keys: int = 0
    open_letters: int = 0


@dataclass(frozen=True)
class SourceFacts:
    """What could be learnt of the MySQL server."""

    address: str
    state: SourceState | None = None
    error: CdcError | None = None


@dataclass(frozen=True)
class Facts:
    """Everything that could be learnt.

    Attributes:
        now_ms: when.
        sinks: one per sink asked about.
        connector_name: as configured.
        connector: its state; None: there is none, or see ``connect_error``.
        connect_error: why Connect could not be asked.
        heartbeat_ms: timestamp of the connector's last heartbeat; None: there is none.
        kafka_error: why Kafka could not be asked.
        source: the MySQL server.
    """

    now_ms: int
    sinks: Sequence[SinkFacts]
    connector_name: str
    source: SourceFacts
    connector: ConnectorStatus | None = None
    connect_error: CdcError | None = None
    heartbeat_ms: int | None = None
    kafka_error: CdcError | None = None


def assess(facts: Facts, thresholds: Thresholds) -> Report:
    """Judge: what is each part's state, is all well, and what is to be done first if not."""
    sinks = tuple(_sink(of, facts.now_ms) for of in facts.sinks)
    connector = _connector(facts)
    source = _source(facts.source)
    findings: list[Finding] = []
    if facts.kafka_error is not None:
        findings.append(_finding("kafka", facts.kafka_error))
    for sink in sinks:
        findings += _of_sink(sink, thresholds)
    findings += _of_connector(connector, facts, thresholds)
    findings += _of_source(source)
    return Report(
        healthy=not findings,
        summary=_summary(sinks, findings),
        findings=tuple(findings),
        checked_ms=facts.now_ms,
        kafka_reachable=facts.kafka_error is None,
        kafka_error=_report(facts.kafka_error),
        sinks=sinks,
        connector=connector,
        source=source,
    )


def lag_of(
    remaining: Mapping[TopicPartition, Remaining], stored: Mapping[TopicPartition, Stored], now_ms: int
) -> Lag:
    """Return how many records wait and for how long the oldest has; 0 and 0 when drained."""
    oldest = 0.0
    for partition, left in remaining.items():
        if left.records:
            applied = stored[partition].progress.source_ms if partition in stored else 0
            since = left.first_ms or applied
            oldest = max(oldest, (now_ms - since) / _MS if since else 0.0)
    return Lag(records=sum(left.records for left in remaining.values()), seconds=oldest)


def _sink(facts: SinkFacts, now_ms: int) -> SinkReport:
    worker = facts.worker
    counts: Counter[str] = Counter()
    for held in (facts.stored or {}).values():
        counts.update(held.progress.counts)
    last = max((facts.stored or {}).values(), key=lambda held: held.progress.source_ms, default=None)
    lag = worker.lag if worker is not None else None
    if facts.remaining is not None and facts.stored is not None:
        lag = lag_of(facts.remaining, facts.stored, now_ms)
    if facts.stored is None and worker is not None:
        counts.update(worker.counts)
    return SinkReport(
        name=facts.name,
        type=facts.type,
        state=worker.state if worker is not None else State.STOPPED,
        since_ms=worker.since_ms if worker is not None else None,
        error=worker.error if worker is not None else None,
        lag=lag,
        gtid=last.progress.gtid if last is not None else worker.gtid if worker is not None else "",
        source_ms=last.progress.source_ms
        if last is not None
        else worker.source_ms
        if worker is not None
        else 0,
        applied_ms=last.committed_ms if last is not None else worker.applied_ms if worker is not None else 0,
        counts=dict(sorted(counts.items())),
        dead_letters=counts["parked"],
        open_dead_letters=facts.open_letters,
        parked_keys=facts.parked_keys,
        breaker=worker.breaker if worker is not None else None,
        retries=worker.retries if worker is not None else 0,
        target_reachable=facts.target_error is None,
        target_error=_report(facts.target_error),
        worker_url=facts.worker_url,
    )


def _of_sink(sink: SinkReport, thresholds: Thresholds) -> list[Finding]:
    subject = f"sink {sink.name}"
    findings: list[Finding] = []
    if sink.target_error is not None:
        findings.append(
            Finding(
                subject=subject,
                what=f"its target, {sink.type}, can't be used: {sink.target_error.what}",
                hint=_sentence(sink.target_error.hint)
                or "The worker goes on by itself once the target is back",
            )
        )
    findings += _of_worker(sink, subject)
    lag = sink.lag
    if lag is not None and (lag.seconds > thresholds.lag_seconds or lag.records > thresholds.lag_records):
        findings.append(
            Finding(
                subject=subject,
                what=f"{lag.records:,} changes wait, the oldest for {lag.seconds:,.0f} s",
                hint="Watch it shrink with 'cdc health --watch'; if it grows, the target is too slow",
            )
        )
    return findings


def _of_worker(sink: SinkReport, subject: str) -> list[Finding]:
    why = f": {sink.error.what}" if sink.error is not None else ""
    hint = _sentence(sink.error.hint) if sink.error is not None else ""
    match sink.state:
        case State.RUNNING | State.IDLE:
            return []
        case State.STARTING:
            what, hint = "its worker is starting", hint or "Look again in a few seconds"
        case State.PAUSED:
            what, hint = "it is paused", hint or f"Resume with 'cdc resume {sink.name}'"
        case State.DEGRADED:
            if sink.target_error is not None:
                return []  # the cause is told already
            what, hint = f"its worker retries{why}", hint or "It goes on by itself once the outage is over"
        case State.FAILED:
            what = f"its worker has failed{why}"
            hint = hint or f"Mend the cause, then 'cdc run --sink {sink.name}'"
        case State.STOPPED:
            what = f"its worker is stopped: nothing answers at {sink.worker_url}"
            hint = f"Start it: 'cdc run --sink {sink.name}'"
    return [Finding(subject=subject, what=what, hint=hint)]


def _of_connector(connector: ConnectorReport, facts: Facts, thresholds: Thresholds) -> list[Finding]:
    subject = f"connector {connector.name}"
    if facts.connect_error is not None:
        return [_finding(subject, facts.connect_error)]
    if facts.connector is None:
        return [Finding(subject=subject, what="there is no such connector", hint="./scripts/up creates it")]
    restart = f"Restart it: POST /connectors/{connector.name}/restart?includeTasks=true to Kafka Connect"
    if connector.watch.watching:
        times = f", {connector.watch.restarts} times so far" if connector.watch.restarts else ""
        restart = f"A worker restarts it by itself, with growing pauses{times}; mend the cause"
    failed = [task for task in connector.tasks if task.state == "FAILED"]
    if failed:
        return [
            Finding(subject=subject, what=f"task {failed[0].id} has failed: {failed[0].error}", hint=restart)
        ]
    if connector.state != "RUNNING":
        why = f": {facts.connector.error}" if facts.connector.error else ""
        resume = f"Resume it: PUT /connectors/{connector.name}/resume to Kafka Connect"
        hint = resume if connector.state in {"PAUSED", "STOPPED"} else restart
        return [Finding(subject=subject, what=f"it is {connector.state}{why}", hint=hint)]
    idle = [task for task in connector.tasks if task.state != "RUNNING"]
    if idle or not connector.tasks:
        what = f"task {idle[0].id} is {idle[0].state}" if idle else "it has no task"
        return [Finding(subject=subject, what=what, hint=f"Look again in a few seconds. {restart}")]
    if facts.kafka_error is not None:
        return []
    age = connector.heartbeat_age_seconds
    if age is None:
        hint = "Look again in a few seconds; heartbeat.interval.ms must be set"
        return [Finding(subject=subject, what="it has not sent a heartbeat yet", hint=hint)]
    if age > thresholds.heartbeat_seconds:
        what = f"it says RUNNING, but its last heartbeat is {age:,.0f} s old: it hangs"
        return [Finding(subject=subject, what=what, hint=restart)]
    return []


def _of_source(source: SourceReport) -> list[Finding]:
    if source.error is not None:
        return [Finding(subject="source", what=source.error.what, hint=_sentence(source.error.hint))]
    if source.gtid_mode != "ON":
        hint = "gtid_mode=ON and enforce_gtid_consistency=ON are required"
        return [Finding(subject="source", what=f"gtid_mode is {source.gtid_mode}", hint=hint)]
    return []


def _connector(facts: Facts) -> ConnectorReport:
    found = facts.connector
    age = None if facts.heartbeat_ms is None else max(0, facts.now_ms - facts.heartbeat_ms) / _MS
    return ConnectorReport(
        name=facts.connector_name,
        reachable=facts.connect_error is None,
        state=found.state if found is not None else "",
        tasks=tuple(TaskReport(id=task.id, state=task.state, error=task.error) for task in found.tasks)
        if found is not None
        else (),
        heartbeat_age_seconds=age,
        watch=_watch([sink.worker.connector for sink in facts.sinks if sink.worker is not None]),
        error=_report(facts.connect_error),
    )


def _watch(told: Sequence[WatchReport]) -> WatchReport:
    """Put together what the workers' processes did for the connector: who watches may have changed."""
    last = max(told, key=lambda watch: watch.restarted_ms, default=WatchReport())
    return WatchReport(
        watching=any(watch.watching for watch in told),
        restarts=sum(watch.restarts for watch in told),
        restarted_ms=last.restarted_ms,
        reason=last.reason,
    )


def _source(facts: SourceFacts) -> SourceReport:
    state = facts.state
    return SourceReport(
        address=facts.address,
        reachable=state is not None,
        version=state.version if state else "",
        gtid_mode=state.gtid_mode if state else "",
        gtid_executed=state.gtid_executed if state else "",
        error=_report(facts.error),
    )


def _summary(sinks: Sequence[SinkReport], findings: Sequence[Finding]) -> str:
    if not findings:
        waiting = sum(sink.lag.records for sink in sinks if sink.lag is not None)
        names = ", ".join(sink.name for sink in sinks)
        keep = "keeps" if len(sinks) == 1 else "keep"
        parked = sum(sink.parked_keys for sink in sinks)
        keys = "1 key is" if parked == 1 else f"{parked:,} keys are"
        held = f"; {keys} parked: 'cdc dlq list'" if parked else ""
        return f"HEALTHY: {names} {keep} up; {waiting:,} changes wait{held}"
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    hint = f". {first.hint}" if first.hint else ""
    return f"NOT HEALTHY: {first.subject}: {first.what}{hint}{more}"


def _finding(subject: str, error: CdcError) -> Finding:
    of = ErrorReport.of(error)
    where = f" [{of.where}]" if of.where else ""
    return Finding(subject=subject, what=of.what + where, hint=_sentence(of.hint))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _report(error: CdcError | None) -> ErrorReport | None:
    return None if error is None else ErrorReport.of(error)
