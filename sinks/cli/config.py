"""``cdc config``: show the configuration, or check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sinks.cli.output import console, plain, print_json
from sinks.config.show import shown

if TYPE_CHECKING:
    from sinks.cli.context import Context


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Show the configuration, or check it.")
    group.command("show")(_show)
    group.command("check")(_check)
    app.add_typer(group, name="config")


def _show(
    ctx: typer.Context, json: Annotated[bool, typer.Option("--json", help="As JSON on stdout")] = False
) -> None:
    """Print every value, secrets left out, and where each came from.

    Example: [bold]cdc config show[/bold]
    """
    context: Context = ctx.obj
    values = shown(context.loaded)
    if json:
        print_json([value._asdict() for value in values])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("key", "value", "from"):
        table.add_column(column, overflow="fold")
    for key, value, origin in values:
        style = "dim" if origin == "default" else ""
        table.add_row(plain(key), plain(_text(value)), plain(origin), style=style)
    console().print(table)


def _check(ctx: typer.Context) -> None:
    """Say whether the configuration can be used; list everything that is wrong with it.

    Example: [bold]cdc --config other.toml config check[/bold]
    """
    context: Context = ctx.obj
    loaded = context.loaded
    used = sorted({"defaults", *loaded.origins.values()})
    console().print(f"the configuration is fine: {plain(', '.join(loaded.config.sinks))}", style="green")
    console().print(f"from {plain(', '.join(used))}", style="dim")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} → {to}" for key, to in value.items())
    return str(value)
