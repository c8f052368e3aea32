"""The commands."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stack.errors import StackError
from stack.install.relock import relock
from stack.layout import REPO, Layout
from stack.progress import Reporter
from stack.stack import Stack

UNREACHABLE = 3
HEALTHY_SECONDS = 30
app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The native stack: every server on this machine."
)
Name = Annotated[str, typer.Argument(help="a server, as `status` lists them")]


@app.command()
def up(
    no_sinks: Annotated[bool, typer.Option("--no-sinks", help="leave the sink workers out")] = False,
) -> None:
    """Start what does not run; idempotent."""
    console = Console(highlight=False)
    with Reporter(console) as reporter:
        stack = Stack(reporter=reporter)
        stack.up(sinks=not no_sinks)
    console.print(_table(stack))
    if not no_sinks:
        _health(console, stack)


@app.command()
def down(wipe: Annotated[bool, typer.Option("--wipe", help="remove all data too")] = False) -> None:
    """Stop everything gracefully."""
    with Reporter() as reporter:
        Stack(reporter=reporter).down(wipe=wipe)


@app.command()
def status() -> None:
    """Show every server; exit code 1 unless all answer."""
    stack = Stack()
    Console(highlight=False).print(_table(stack))
    raise typer.Exit(0 if all(each.answers for each in stack.status()) else 1)


@app.command()
def logs(name: Name, lines: int = 50) -> None:
    """Print the end of a server's log."""
    sys.stdout.write(_known(Stack(), name).process(name).last_words(lines) + "\n")


@app.command()
def start(name: Name) -> None:
    """Start one server."""
    stack = Stack()
    _known(stack, name).start(name)


@app.command()
def stop(name: Name) -> None:
    """Stop one server gracefully."""
    stack = Stack()
    _known(stack, name).stop(name)


@app.command()
def restart(name: Name) -> None:
    """Stop and start one server."""
    stack = Stack()
    _known(stack, name).restart(name)


@app.command()
def lock() -> None:
    """Write artifacts.toml anew, after a version was changed on purpose."""
    with Reporter() as reporter:
        relock(Layout.find(), reporter)


@app.command()
def kill(name: Name) -> None:
    """End one server with SIGKILL, as an accident would."""
    stack = Stack()
    _known(stack, name).kill(name)


def main(run: Callable[[], None] = app) -> None:
    """Run a command; a fault is one sentence and exit code 3."""
    try:
        run()
    except StackError as error:
        Console(stderr=True, highlight=False).print(str(error), markup=False, soft_wrap=True)
        sys.exit(UNREACHABLE)


def _known(stack: Stack, name: str) -> Stack:
    if name not in stack.servers:
        raise typer.BadParameter(f"no server {name!r}; there are: {', '.join(stack.servers)}")
    return stack


def _health(console: Console, stack: Stack) -> None:
    """Print what `cdc health` says, when all is well or HEALTHY_SECONDS have passed."""
    command = [str(Path(sys.executable).with_name("cdc")), "health"]
    environment = {**os.environ, "CDC_HOME": str(stack.layout.home), "COLUMNS": str(console.width)}
    if console.is_terminal:
        environment["FORCE_COLOR"] = "1"
    deadline = time.monotonic() + HEALTHY_SECONDS
    while True:
        told = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if told.returncode == 0 or time.monotonic() > deadline:
            break
        time.sleep(1)
    sys.stdout.write(f"\n{told.stdout}{told.stderr}")


def _table(stack: Stack) -> Table:
    table = Table("server", "state", "address", "process", box=None, pad_edge=False)
    for each in stack.status():
        state = "[green]up[/green]" if each.answers else "[red]no answer[/red]" if each.pid else "down"
        table.add_row(each.name, state, each.address, str(each.pid or ""))
    return table
