"""Entry point: global options, the commands, and how an error ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sinks.cli import config, dead_letters, health, lag, outbox, run
from sinks.cli.context import Context
from sinks.cli.logs import LogFormat, LogLevel, configure_logging
from sinks.cli.output import tell_error
from sinks.errors import CdcError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name="cdc",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.register(app)
health.register(app)
lag.register(app)
dead_letters.register(app)
config.register(app)
outbox.register(app)


@app.callback()
def _options(
    ctx: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Configuration file; else $CDC_CONFIG, else cdc.toml"),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="Least level logged, on stderr")] = LogLevel.INFO,
    log_format: Annotated[
        LogFormat, typer.Option(help="Text for people, JSON lines for machines")
    ] = LogFormat.TEXT,
) -> None:
    """Every committed MySQL change, in order and once, in PostgreSQL and Elasticsearch.

    Exit codes: 0 fine, 1 not healthy or differences found,
    2 wrong usage or configuration, 3 what is needed to answer is out of reach.

    Example: [bold]cdc health --watch[/bold]
    """
    configure_logging(log_level, log_format)
    ctx.obj = Context(config_file, environ=dict(os.environ), cwd=Path.cwd())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code; an error of ours is one clean message, not a stack trace."""
    try:
        app(list(arguments) if arguments is not None else None)
    except CdcError as error:
        tell_error(error)
        sys.exit(error.exit_code)
