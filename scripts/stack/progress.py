"""Tell a person what is going on: bars on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

POLL_SECONDS = 0.3
MEGABYTE = 1_000_000


class Reporter:
    """One row per download and per start; safe to use from several threads."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._bars: Progress | None = None
        if self.console.is_terminal:
            self._bars = Progress(
                SpinnerColumn(finished_text="[green]✓[/green]"),
                TextColumn("{task.description:<28}"),
                BarColumn(bar_width=28),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=self.console,
            )

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, what: str, note: str = "") -> Iterator[None]:
        """Show that something without a known length is under way."""
        began = time.monotonic()
        row = self._row(what, None, note)
        yield
        seconds = time.monotonic() - began
        if self._bars and row is not None:
            self._bars.update(row, total=1, completed=1, note=note)
        else:
            self.say(f"{what}: done in {seconds:.1f} s{f', {note}' if note else ''}")

    @contextmanager
    def download(self, what: str, total: int, measure: Callable[[], int]) -> Iterator[None]:
        """Show a download whose progress is the number of bytes that `measure` finds."""
        size = f"{total / MEGABYTE:.0f} MB"
        row = self._row(f"fetch {what}", total, size)
        over = threading.Event()

        def watch() -> None:
            while self._bars and row is not None and not over.wait(POLL_SECONDS):
                seen = min(measure(), total)
                note = f"{seen / MEGABYTE:.0f} of {size}"
                self._bars.update(row, completed=seen, note=note)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        began = time.monotonic()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        if self._bars and row is not None:
            self._bars.update(row, completed=total, note=size)
        else:
            self.say(f"fetch {what}: {size} in {time.monotonic() - began:.1f} s")

    def _row(self, what: str, total: int | None, note: str) -> TaskID | None:
        if self._bars:
            return self._bars.add_task(what, total=total, note=note)
        self.say(f"{what} …")
        return None
