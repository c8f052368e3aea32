"""One screen of health: a sentence, the sinks side by side, the connector, the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from sinks.cli.output import duration, moment
from sinks.health import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from sinks.health import ConnectorReport, Report, SinkReport, SourceReport

_MS = 1000
_STATE_STYLES = {
    State.RUNNING: "green",
    State.IDLE: "green",
    State.STARTING: "yellow",
    State.PAUSED: "yellow",
    State.DEGRADED: "yellow",
    State.STOPPED: "red",
    State.FAILED: "red",
}
_OPERATIONS = {"c": "inserts", "u": "updates", "d": "deletes", "r": "snapshot", "t": "truncates"}


def screen(report: Report) -> RenderableType:
    """Return the whole screen."""
    parts: list[RenderableType] = [
        Text(report.summary, style="bold green" if report.healthy else "bold red"),
    ]
    parts += [
        Text(f"  also: {of.subject}: {of.what}" + (f". {of.hint}" if of.hint else ""), style="red")
        for of in report.findings[1:]
    ]
    parts += [Text(), _sinks(report), Text(), _rest(report)]
    return Group(*parts)


def _sinks(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    table.add_column("sink", style="dim", no_wrap=True)
    for sink in report.sinks:
        table.add_column(f"{sink.name} ({sink.type})", overflow="fold")
    rows: dict[str, Callable[[SinkReport], Text]] = {
        "state": lambda sink: _state(sink, report.checked_ms),
        "lag": _lag,
        "last change": lambda sink: _last(sink, report.checked_ms),
        "position": lambda sink: Text(sink.gtid or "none"),
        "applied": _counts,
        "dead letters": _dead_letters,
        "breaker": _breaker,
        "target": _target,
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(sink) for sink in report.sinks))
    return table


def _state(sink: SinkReport, now_ms: int) -> Text:
    since = f" for {duration(max(0, now_ms - sink.since_ms) / _MS)}" if sink.since_ms else ""
    return Text.assemble((sink.state, f"bold {_STATE_STYLES[sink.state]}"), (since, "dim"))


def _lag(sink: SinkReport) -> Text:
    if sink.lag is None:
        return Text("unknown", "yellow")
    if not sink.lag.records:
        return Text("0 changes, 0 s")
    changes = "1 change" if sink.lag.records == 1 else f"{sink.lag.records:,} changes"
    return Text(f"{changes}, {duration(sink.lag.seconds)}")


def _last(sink: SinkReport, now_ms: int) -> Text:
    if not sink.source_ms:
        return Text("never")
    ago = duration(max(0, now_ms - sink.source_ms) / _MS)
    return Text(f"{moment(sink.source_ms)}, {ago} ago")


def _counts(sink: SinkReport) -> Text:
    parts = [f"{sink.counts[op]:,} {name}" for op, name in _OPERATIONS.items() if sink.counts.get(op)]
    return Text(", ".join(parts) or "nothing yet")


def _dead_letters(sink: SinkReport) -> Text:
    if not sink.parked_keys:
        return Text(f"0 open, {sink.dead_letters:,} ever")
    keys = "1 key" if sink.parked_keys == 1 else f"{sink.parked_keys:,} keys"
    return Text(f"{sink.open_dead_letters:,} open of {keys}, {sink.dead_letters:,} ever", "bold yellow")


def _breaker(sink: SinkReport) -> Text:
    if sink.breaker is None:
        return Text("no worker", "dim")
    retries = f", {sink.retries:,} retries" if sink.retries else ""
    return Text(sink.breaker + retries, "" if sink.breaker == "closed" else "bold yellow")


def _target(sink: SinkReport) -> Text:
    return Text("answers", "green") if sink.target_reachable else Text("does not answer", "bold red")


def _rest(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("connector", _connector(report.connector))
    table.add_row("source", _source(report.source))
    table.add_row(
        "kafka", Text("answers", "green") if report.kafka_reachable else Text("does not answer", "bold red")
    )
    return table


def _connector(connector: ConnectorReport) -> Text:
    text = Text(f"{connector.name}: ")
    if not connector.reachable:
        return text.append("Kafka Connect does not answer", "bold red")
    text.append(connector.state or "missing", "green" if connector.state == "RUNNING" else "bold red")
    for task in connector.tasks:
        text.append(f", task {task.id} ").append(
            task.state, "green" if task.state == "RUNNING" else "bold red"
        )
    age = connector.heartbeat_age_seconds
    text.append(f", heartbeat {duration(age)} ago" if age is not None else ", no heartbeat")
    if connector.watch.restarts:
        when = moment(connector.watch.restarted_ms)
        text.append(f", restarted {connector.watch.restarts} times, last {when}: {connector.watch.reason}")
    return text


def _source(source: SourceReport) -> Text:
    if not source.reachable:
        return Text(f"MySQL at {source.address} does not answer", "bold red")
    return Text(f"MySQL {source.version} at {source.address}, executed {source.gtid_executed or 'nothing'}")
