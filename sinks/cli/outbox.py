"""``cdc outbox``: run the polling relay, and see to what it could not send."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sinks.cli.output import console, duration, plain, print_json
from sinks.errors import ConfigError
from sinks.kafka.publisher import Publisher
from sinks.kafka.topics import Topics
from sinks.mysql.session import Address, Session
from sinks.outbox.relay import Relay, RelayOptions
from sinks.outbox.table import OutboxTable
from sinks.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from sinks.cli.context import Context
    from sinks.config import Config

_SECONDS_PER_HOUR = 3600
Json = Annotated[bool, typer.Option("--json", help="As JSON on stdout")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="The transactional outbox: relay, look, retry.")
    group.command("relay")(_relay)
    group.command("status")(_status)
    group.command("list")(_list)
    group.command("retry")(_retry)
    group.command("discard")(_discard)
    app.add_typer(group, name="outbox")


def open_table(config: Config) -> OutboxTable:
    """Return the configured outbox, on a connection of its own."""
    mysql = config.mysql
    address = Address(mysql.host, mysql.port, mysql.user, mysql.password.get_secret_value())
    return OutboxTable(Session(address), config.outbox.table)


def open_relay(config: Config) -> Relay:
    """Put a relay together."""
    outbox, kafka = config.outbox, config.kafka
    options = RelayOptions(
        mode=outbox.mode,
        topic_prefix=outbox.topic_prefix,
        partitions=outbox.partitions,
        batch_records=outbox.batch_records,
        poll_seconds=outbox.poll_seconds,
        max_failures=outbox.max_failures,
        backoff=Backoff(first=outbox.retry_first_seconds, ceiling=outbox.retry_ceiling_seconds),
        keep_seconds=outbox.keep_hours * _SECONDS_PER_HOUR,
    )
    extra = kafka.client_options()
    publisher = Publisher(kafka.bootstrap, extra, max_bytes=int(outbox.max_message_bytes))
    return Relay(open_table(config), publisher, Topics(kafka.bootstrap, extra), options)


def _relay(ctx: typer.Context) -> None:
    """Bring events from the outbox to Kafka, in the foreground; SIGTERM finishes the batch and exits 0.

    Several may run at once, on any machines.

    Example: [bold]cdc outbox relay[/bold]
    """
    context: Context = ctx.obj
    relay = open_relay(context.config)

    def on_signal(_: int, __: FrameType | None) -> None:
        relay.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    relay.run()


def _status(ctx: typer.Context, json: Json = False) -> None:
    """Show what waits, for how long, and what was given up; exit code 1 when that is not healthy.

    Example: [bold]cdc outbox status --json[/bold]
    """
    context: Context = ctx.obj
    table = open_table(context.config)
    counts, oldest = table.counts(), table.oldest_seconds()
    failed = counts.get("failed", 0)
    late = oldest > context.config.outbox.lag_seconds
    healthy = not failed and not late
    if json:
        print_json(
            {"table": table.name, "healthy": healthy, "counts": counts, "oldest_seconds": round(oldest, 3)}
        )
    else:
        out = console()
        said = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items())) or "empty"
        out.print(f"{plain(table.name)}: {said}", style="green" if healthy else "red")
        if late:
            out.print(f"the oldest has waited for {duration(oldest)}: does a relay run?", style="red")
        if failed:
            out.print(f"{failed:,} given up: cdc outbox list", style="red")
    raise typer.Exit(0 if healthy else 1)


def _list(
    ctx: typer.Context,
    json: Json = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many")] = 100,
) -> None:
    """List events that Kafka refused: those given up first, then those that are tried again.

    Example: [bold]cdc outbox list[/bold]
    """
    context: Context = ctx.obj
    rows = open_table(context.config).troubled(limit)
    if json:
        print_json([row._asdict() for row in rows])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "aggregate", "type", "status", "failures", "next try", "last error"):
        table.add_column(column, overflow="fold")
    for row in rows:
        subject = f"{row.aggregate_type}/{row.aggregate_id}"
        again = row.next_attempt_at if row.status == "retry" else ""
        cells = (str(row.id), subject, row.event_type, row.status, str(row.failures), again, row.last_error)
        table.add_row(*map(plain, cells))
    console().print(table)


_Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Ids of rows, as listed")]


def _retry(
    ctx: typer.Context,
    ids: _Ids = None,
    every: Annotated[bool, typer.Option("--all", help="All that were given up")] = False,
) -> None:
    """Try events again that were given up, now; what waits behind them follows in order.

    Example: [bold]cdc outbox retry 17 18[/bold]
    """
    if bool(ids) == every:
        raise ConfigError("name the rows, or say --all", where="cdc outbox retry")
    _change(ctx, lambda table: table.retry(ids or []), "will be tried again")


def _discard(
    ctx: typer.Context,
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Ids of rows, as listed")],
) -> None:
    """Never send these events; what waits behind them goes on.

    Example: [bold]cdc outbox discard 17[/bold]
    """
    _change(ctx, lambda table: table.discard(ids), "will never be sent")


def _change(ctx: typer.Context, change: Callable[[OutboxTable], int], what: str) -> None:
    context: Context = ctx.obj
    count = change(open_table(context.config))
    console().print(f"{count:,} {'event' if count == 1 else 'events'} {what}")
