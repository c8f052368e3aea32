"""``cdc health``: is all well, and if not, what is to be done."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live

from sinks.cli.health_screen import screen
from sinks.cli.output import console, print_json
from sinks.cli.survey import Survey, worker_lives
from sinks.health import Report, assess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sinks.cli.context import Context
    from sinks.config import SinkConfig


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("health")(_health)


def _health(  # noqa: PLR0917 (Typer hands options in by name)
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="As JSON on stdout (docs/health.schema.json)")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between looks of --watch")] = 2.0,
    live: Annotated[
        bool, typer.Option("--live", help="Only whether the worker runs: for container health checks")
    ] = False,
    sink: Annotated[
        list[str] | None, typer.Option("--sink", metavar="NAME", help="This sink only; may be repeated")
    ] = None,
) -> None:
    """Show sinks, connector and source on one screen; say what is wrong and what to do.

    Positions are read from the targets and from Kafka, also when no worker runs.

    Exit codes: 0 healthy, 1 not, 3 when nothing answers.

    Example: [bold]cdc health --json | jq .sinks[].lag[/bold]
    """
    context: Context = ctx.obj
    sinks = context.sinks(sink or [])
    if live:
        raise typer.Exit(_live(sinks))
    from sinks.app import open_target  # noqa: PLC0415 (targets are loaded by the command that needs them)

    survey = Survey(context.config, sinks, open_target)
    thresholds = context.config.health

    def look() -> Report:
        return assess(survey.facts(), thresholds)

    report = look()
    if watch:
        report = _watch(report, look, interval, json=json)
    elif json:
        print_json(report.model_dump(mode="json"))
    else:
        console().print(screen(report))
    raise typer.Exit(report.exit_code)


def _watch(report: Report, look: Callable[[], Report], interval: float, *, json: bool) -> Report:
    """Show again and again until interrupted; return the last report."""
    out = console()
    try:
        if json or not out.is_terminal:
            while True:
                if json:
                    sys.stdout.write(report.model_dump_json() + "\n")
                    sys.stdout.flush()
                else:
                    out.print(screen(report))
                time.sleep(interval)
                report = look()
        with Live(screen(report), console=out, auto_refresh=False, screen=True) as shown:
            while True:
                time.sleep(interval)
                report = look()
                shown.update(screen(report), refresh=True)
    except KeyboardInterrupt:
        return report


def _live(sinks: Sequence[SinkConfig]) -> int:
    dead = {sink.name: why for sink in sinks if (why := worker_lives(sink))}
    for name, why in dead.items():
        console().print(f"{name}: {why}", style="red", markup=False)
    return 1 if dead else 0
