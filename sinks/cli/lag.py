"""``cdc lag``: how far behind each sink is, from its target and Kafka alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sinks.cli.output import console, duration, plain, print_json
from sinks.cli.survey import SinkPosition, Survey
from sinks.health.assess import lag_of

if TYPE_CHECKING:
    from sinks.cli.context import Context
    from sinks.health import Lag


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lag")(_lag)


def _lag(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="As JSON on stdout")] = False,
    sink: Annotated[
        list[str] | None, typer.Option("--sink", metavar="NAME", help="This sink only; may be repeated")
    ] = None,
) -> None:
    """Show how many changes wait per sink and topic, and for how long; also when no worker runs.

    Exit code 3 when Kafka or a target could not be asked.

    Example: [bold]cdc lag --sink search[/bold]
    """
    context: Context = ctx.obj
    from sinks.app import open_target  # noqa: PLC0415 (targets are loaded by the command that needs them)

    positions = Survey(context.config, context.sinks(sink or []), open_target).positions()
    for position in positions.values():
        error = position.stored.error or position.remaining.error
        if error is not None:
            raise error
    now_ms = time.time_ns() // 1_000_000
    if json:
        print_json({"sinks": [_as_json(name, position, now_ms) for name, position in positions.items()]})
        return
    console().print(_table(positions, now_ms))


def _table(positions: dict[str, SinkPosition], now_ms: int) -> Table:
    """One line per sink, and below it one per partition that is behind."""
    table = Table(box=None, pad_edge=False)
    table.add_column("sink / partition", overflow="fold")
    for column in ("changes", "for", "next", "end"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, position in positions.items():
        total = _total(position, now_ms)
        table.add_row(plain(name), f"{total.records:,}", duration(total.seconds), style="bold")
        stored = position.stored.value or {}
        for partition, left in sorted((position.remaining.value or {}).items()):
            if left.records:
                waited = lag_of({partition: left}, stored, now_ms)
                start = stored[partition].progress.next_offset if partition in stored else 0
                row = (f"{left.records:,}", duration(waited.seconds), f"{start:,}", f"{left.end_offset:,}")
                table.add_row(f"  {plain(str(partition))}", *row)
    return table


def _total(position: SinkPosition, now_ms: int) -> Lag:
    return lag_of(position.remaining.value or {}, position.stored.value or {}, now_ms)


def _as_json(name: str, position: SinkPosition, now_ms: int) -> dict[str, object]:
    stored = position.stored.value or {}
    partitions = [
        {
            "topic": partition.topic,
            "partition": partition.partition,
            "next_offset": stored[partition].progress.next_offset if partition in stored else 0,
            "end_offset": left.end_offset,
            "records": left.records,
        }
        for partition, left in sorted((position.remaining.value or {}).items())
    ]
    return {"name": name, "lag": _total(position, now_ms).model_dump(), "partitions": partitions}
