"""``cdc dlq``: what is parked, why, and what is to become of it."""

from __future__ import annotations

import json as jsons
import time
from pathlib import Path  # noqa: TC003 (Typer reads the annotation)
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from sinks.cli.dead_letter_desk import Desk, Entry, Pick, chosen_keys, key_text, picked
from sinks.cli.output import console, duration, moment, plain, print_json
from sinks.errors import ConfigError
from sinks.targets.base import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinks.cli.context import Context
    from sinks.targets.base import Action

_POLL_SECONDS = 0.2
_MS = 1000

_Sinks = Annotated[
    list[str] | None, typer.Option("--sink", metavar="NAME", help="This sink only; may be repeated")
]
_Tables = Annotated[
    list[str] | None, typer.Option("--table", metavar="DATABASE.TABLE", help="This table only; repeatable")
]
_Json = Annotated[bool, typer.Option("--json", help="As JSON on stdout")]
_Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="Dead letters, as 'list' names them")]
_Key = Annotated[
    str | None,
    typer.Option("--key", metavar="VALUE", help='Key of one --table: 7, or {"a": 1, "b": "x"}'),
]
_All = Annotated[bool, typer.Option("--all", help="Everything that is parked")]
_Wait = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds to wait for the worker; 0: leave the request to it")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True, help="Records that a target refused, and what waits behind them."
    )
    group.command("list")(_list)
    group.command("show")(_show)
    group.command("replay")(_replay)
    group.command("discard")(_discard)
    app.add_typer(group, name="dlq")


def _list(ctx: typer.Context, *, sink: _Sinks = None, table: _Tables = None, json: _Json = False) -> None:
    """List the open dead letters, key by key and in order; also when no worker runs.

    Example: [bold]cdc dlq list --sink replica --table shop.orders[/bold]
    """
    context: Context = ctx.obj
    entries = [
        entry
        for of in context.sinks(sink or [])
        for entry in Desk.open(context.config, of).entries()
        if not table or entry.is_of(table)
    ]
    if json:
        print_json({"keys": [entry.as_json() for entry in entries]})
        return
    if not entries:
        console().print("nothing is parked")
        return
    console().print(_table(entries, time.time_ns() // 1_000_000))


def _table(entries: Sequence[Entry], now_ms: int) -> Table:
    shown = Table(box=None, pad_edge=False)
    for column in ("id", "sink", "table", "parked", "reason"):
        shown.add_column(column, overflow="fold")
    for entry in entries:
        since = f"{duration(max(0, now_ms - entry.held.parked_ms) / _MS)} ago"
        first = entry.held.first
        for letter in entry.letters:
            reason = entry.held.reason if letter.version == first else letter.reason
            name = entry.table or "?"
            style = "" if letter.version == first else "dim"
            row = (letter.id, entry.sink, name, since, reason)
            shown.add_row(*(plain(cell) for cell in row), style=style)
        if len(entry.letters) != entry.held.letters:
            missing = f"{entry.held.letters - len(entry.letters)} letters are not in the topic"
            shown.add_row("", entry.sink, entry.table or "?", since, Text(missing, "bold red"))
    return shown


def _show(
    ctx: typer.Context,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="A dead letter, as 'list' names it")],
    *,
    sink: _Sinks = None,
    values: Annotated[
        bool, typer.Option("--values", help="The row too: it may be sensitive, and is never logged")
    ] = False,
    json: _Json = False,
) -> None:
    """Show one dead letter: why it was parked, where it comes from, its key.

    Example: [bold]cdc dlq show cdc.shop.orders/0/1234 --values[/bold]
    """
    context: Context = ctx.obj
    for of in context.sinks(sink or []):
        desk = Desk.open(context.config, of)
        for entry in desk.entries():
            for letter in entry.letters:
                if letter.id == letter_id:
                    told = desk.told(entry, letter, values=values)
                    if json:
                        print_json(told)
                    else:
                        _print(told)
                    return
    raise ConfigError(f"no open dead letter is called {letter_id!r}", hint="'cdc dlq list' names them")


def _print(told: dict[str, Any]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in told.items():
        if name == "timestamp_ms":
            grid.add_row("time", moment(value))
        elif isinstance(value, str):
            grid.add_row(name, plain(value))
        else:
            grid.add_row(name, plain(jsons.dumps(value, ensure_ascii=False, default=str)))
    console().print(grid)


def _replay(
    ctx: typer.Context,
    ids: _Ids = None,
    *,
    sink: _Sinks = None,
    table: _Tables = None,
    key: _Key = None,
    every: _All = False,
    edit: Annotated[
        Path | None,
        typer.Option(
            "--edit",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help='With one ID: new values for its row, as JSON: {"note": "clean"}',
        ),
    ] = None,
    wait: _Wait = 30.0,
) -> None:
    """Apply the dead letters of the chosen keys again, in order: all of a key, or up to the next refused one.

    The worker that owns the key's partition does it, between two batches; without one it waits for the next.

    Exit codes: 0 released, 1 parked again or not carried out yet.

    Example: [bold]cdc dlq replay --table shop.orders[/bold]
    """
    context: Context = ctx.obj
    edits = None
    if edit is not None:
        if not ids or len(ids) != 1:
            raise ConfigError("--edit is for one dead letter", where="--edit", hint="name its ID")
        try:
            edits = jsons.loads(edit.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError("the file is not JSON", where=edit.name) from error
        if not isinstance(edits, dict):
            raise ConfigError("the file is not a JSON object of columns", where=edit.name)
    _carry_out(context, "replay", picked(ids, table, key, every=every), sinks=sink, edits=edits, wait=wait)


def _discard(
    ctx: typer.Context,
    ids: _Ids = None,
    *,
    sink: _Sinks = None,
    table: _Tables = None,
    key: _Key = None,
    every: _All = False,
    wait: _Wait = 30.0,
) -> None:
    """Give up the dead letters of the chosen keys: the row stays as it is until its next change.

    Exit codes: 0 released, 1 not carried out yet.

    Example: [bold]cdc dlq discard cdc.shop.orders/0/1234[/bold]
    """
    _carry_out(ctx.obj, "discard", picked(ids, table, key, every=every), sinks=sink, edits=None, wait=wait)


def _carry_out(
    context: Context,
    action: Action,
    pick: Pick,
    *,
    sinks: list[str] | None,
    edits: dict[str, Any] | None,
    wait: float,
) -> None:
    found = 0
    again = 0
    for of in context.sinks(sinks or []):
        desk = Desk.open(context.config, of)
        entries = chosen_keys(desk, pick)
        if not entries:
            continue
        found += len(entries)
        requests = []
        for entry in entries:
            edited = desk.checked_edits(entry, pick.ids[0], edits) if edits is not None else {}
            held = entry.held
            requests.append(Request(action, held.topic, held.key, held.partition, edited))
        desk.target.ask(requests)
        left = _left(desk, requests, wait)
        waiting = sum((r.topic, r.key) in left for r in requests) if _unanswered(desk, requests) else 0
        done = len(requests) - len(left)
        again += len(left)
        word = "replayed" if action == "replay" else "discarded"
        console().print(f"{plain(of.name)}: {done} keys {word}, {len(left)} still parked")
        if waiting:
            console().print("  the request is recorded: the worker that owns the key carries it out")
        for entry in entries:
            held_now = left.get((entry.held.topic, entry.held.key))
            if held_now is not None and not waiting:
                console().print(f"  {plain(key_text(entry))}: {plain(held_now.reason)}")
    if not found:
        raise ConfigError("nothing that is parked matches", hint="'cdc dlq list' shows what is parked")
    raise typer.Exit(1 if again else 0)


def _unanswered(desk: Desk, requests: Sequence[Request]) -> bool:
    asked = {(request.topic, request.key) for request in requests}
    return any((request.topic, request.key) in asked for request in desk.target.requests())


def _left(desk: Desk, requests: Sequence[Request], wait: float) -> dict[tuple[str, bytes], Any]:
    """Wait until the worker has answered; return the keys that are parked still."""
    deadline = time.monotonic() + wait
    while _unanswered(desk, requests) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    parked = {(held.topic, held.key): held for held in desk.target.parked()}
    return {(r.topic, r.key): parked[r.topic, r.key] for r in requests if (r.topic, r.key) in parked}
