"""``cdc run``: the workers in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sinks.cli.context import Context


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(_run)


def _run(
    ctx: typer.Context,
    sink: Annotated[
        list[str] | None, typer.Option("--sink", metavar="NAME", help="This sink only; may be repeated")
    ] = None,
) -> None:
    """Run the sink workers in the foreground; SIGTERM finishes the batch in flight and exits 0.

    Example: [bold]cdc run --sink replica[/bold]
    """
    context: Context = ctx.obj
    names = [of.name for of in context.sinks(sink or [])]
    from sinks import app  # noqa: PLC0415 (targets and wires are loaded by the command that needs them)

    raise typer.Exit(app.run(context.config, names))
