"""Seeded chaos on the real stack: traffic while servers and workers are killed, frozen and cut off.

A run is one fault, or two at once, under traffic of its own seed; at its end all is healed, and the rows of
all three stores are compared. `./scripts/chaos --help` tells the options.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts"))

from stack import Stack  # noqa: E402 - the path comes first
from stack.endpoints import read  # noqa: E402 - as above

from tests.faults.proxy import Mode  # noqa: E402 - as above
from tests.faults.record import Row, record  # noqa: E402 - as above
from tests.faults.scene import Scene  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.process import Sinks

_EQUAL_SECONDS = 240.0
_STOP_SECONDS = 10.0
_CHANGES = 1500


@dataclass
class Result:
    """What one run, or all runs of a fault, came to."""

    runs: int = 0
    changes: int = 0
    differences: Counter[str] = field(default_factory=lambda: Counter(lost=0, duplicated=0, out_of_order=0))
    parked: int = 0
    complaints: list[str] = field(default_factory=list)

    def add(self, other: Result) -> None:
        self.runs += other.runs
        self.changes += other.changes
        self.differences.update(other.differences)
        self.parked += other.parked
        self.complaints += other.complaints

    @property
    def clean(self) -> bool:
        return not (self.differences.total() or self.parked or self.complaints)


class Chaos:
    """Faults by name; each is given the dice, and leaves everything healed."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.workers = [scene.sinks(), scene.sinks()]
        self.complaints: list[str] = []
        self._pause = threading.Event()
        self.faults: dict[str, Callable[[random.Random], None]] = {
            "worker killed": self._kill_worker,
            "worker frozen": self._freeze_worker,
            "worker stopped": self._stop_worker,
            **{f"{name} killed": self._killing(name) for name in ("kafka", "connect", "postgres")},
            **{f"{name} killed": self._killing(name) for name in ("elasticsearch", "registry")},
            **{f"{name} frozen": self._freezing(name) for name in ("kafka", "connect", "elasticsearch")},
            **{f"{name} disconnected": self._disconnecting(name) for name in scene.proxies},
            "elasticsearch answers 429 or 503": self._turned_away,
        }

    def start(self) -> None:
        for worker in self.workers:
            worker.start(wait=False)

    def _sleep(self, dice: random.Random, most: float) -> None:
        self._pause.wait(dice.uniform(0.2, most))

    def _worker(self, dice: random.Random) -> Sinks:
        return dice.choice(self.workers)

    def _kill_worker(self, dice: random.Random) -> None:
        worker = self._worker(dice)
        worker.kill()
        self._sleep(dice, 3)
        worker.start(wait=False)

    def _freeze_worker(self, dice: random.Random) -> None:
        """At times for longer than the group's session: the other takes over, and this one wakes up late."""
        worker = self._worker(dice)
        worker.signal(signal.SIGSTOP)
        self._sleep(dice, dice.choice((3, 25)))
        worker.signal(signal.SIGCONT)

    def _stop_worker(self, dice: random.Random) -> None:
        worker = self._worker(dice)
        code, seconds = worker.stop()
        if code or seconds > _STOP_SECONDS:
            self.complaints.append(f"SIGTERM: exit code {code} after {seconds:.1f} s")
        worker.start(wait=False)

    def _killing(self, name: str) -> Callable[[random.Random], None]:
        def kill(dice: random.Random) -> None:
            self.scene.stack.kill(name)
            self._sleep(dice, 5)
            self.scene.stack.start(name)

        return kill

    def _freezing(self, name: str) -> Callable[[random.Random], None]:
        def freeze(dice: random.Random) -> None:
            process = self.scene.stack.process(name)
            process.signal(signal.SIGSTOP)
            self._sleep(dice, 12)
            process.signal(signal.SIGCONT)

        return freeze

    def _disconnecting(self, name: str) -> Callable[[random.Random], None]:
        def disconnect(dice: random.Random) -> None:
            proxy = self.scene.proxies[name]
            for _ in range(dice.randint(1, 3)):
                proxy.mode = dice.choice((Mode.REFUSE, Mode.STALL))
                self._sleep(dice, 4)
                proxy.mode = Mode.PASS
                proxy.cut()
                self._sleep(dice, 1)

        return disconnect

    def _turned_away(self, dice: random.Random) -> None:
        proxy = self.scene.proxies["elasticsearch"]
        proxy.mode = dice.choice((Mode.TOO_MANY, Mode.UNAVAILABLE))
        self._sleep(dice, 6)
        proxy.mode = Mode.PASS

    def run(self, seed: str, name: str) -> Result:
        """One run: traffic, the fault in the middle of it, all healed, and the comparison."""
        dice = random.Random(seed)
        self.complaints.clear()
        sessions = self.scene.start_writing(_CHANGES, seed=seed)
        self._sleep(dice, 1.5)
        self.faults[name](dice)
        for session in sessions:
            session.join()
            if session.error is not None:
                self.complaints.append(f"traffic: {type(session.error).__name__}")
        try:
            self.scene.wait_equal(_EQUAL_SECONDS)
        except AssertionError as error:
            self.complaints.append(str(error))
        for worker in self.workers:
            if worker.process.poll() is not None:
                self.complaints.append(f"a worker ended with {worker.process.returncode}")
                worker.start(wait=False)
        failed = [state for worker in self.workers for state in worker.states_or_none() if state == "failed"]
        self.complaints += [f"a worker is {state}" for state in failed]
        return Result(
            1, _CHANGES, self.scene.count_differences(), self.scene.dead_letters(), list(self.complaints)
        )


def main() -> int:
    """Run by command; with --json the last line is JSON."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same faults at the same places (default 1)")
    parser.add_argument(
        "--minutes", type=float, default=10, help="no run begins later than this (default 10)"
    )
    parser.add_argument("--runs", type=int, default=0, help="at most so many runs")
    parser.add_argument("--fault", action="append", default=[], help="this one only; may be repeated")
    parser.add_argument("--json", action="store_true", help="results as JSON on stdout")
    parser.add_argument("--record", action="store_true", help="append the results to docs/guarantees.md")
    chosen = parser.parse_args()
    home = Path(os.environ.get("CDC_HOME") or REPOSITORY / ".stack-chaos")
    stack = Stack(home)
    stack.up(sinks=False)
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(stack, read(stack.layout), Path(folder))
        try:
            results = _runs(Chaos(scene), chosen)
        finally:
            scene.close()
    if chosen.json:
        shown = {name: vars(result) for name, result in results.items()}
        sys.stdout.write(json.dumps({"seed": chosen.seed, "faults": shown}) + "\n")
    if chosen.record:
        only = "".join(f' --fault "{name}"' for name in chosen.fault)
        command = f"./scripts/chaos --seed {chosen.seed} --minutes {chosen.minutes:g}{only}"
        record([_row(name, command, chosen.seed, result) for name, result in sorted(results.items())])
    return 0 if all(result.clean for result in results.values()) else 1


def _runs(chaos: Chaos, chosen: argparse.Namespace) -> dict[str, Result]:
    """Every fault in turn, in an order by the seed, until the time is over."""
    order = random.Random(f"order/{chosen.seed}")
    names = [name for name in sorted(chaos.faults) if not chosen.fault or name in chosen.fault]
    if not names:
        raise SystemExit(f"there are these faults: {', '.join(sorted(chaos.faults))}")
    results: dict[str, Result] = {}
    end = time.monotonic() + chosen.minutes * 60
    chaos.start()
    number = 0
    while time.monotonic() < end and (not chosen.runs or number < chosen.runs):
        if number % len(names) == 0:
            order.shuffle(names)
        name = names[number % len(names)]
        began = time.monotonic()
        result = chaos.run(f"{chosen.seed}/{number}", name)
        results.setdefault(name, Result()).add(result)
        told = "clean" if result.clean else f"{dict(result.differences)} {result.parked} {result.complaints}"
        sys.stderr.write(f"{chosen.seed}/{number} {name}: {told}, {time.monotonic() - began:.0f} s\n")
        number += 1
    return results


def _row(name: str, command: str, seed: Any, result: Result) -> Row:  # noqa: ANN401 (shown as it is)
    found = result.differences
    return Row(
        name,
        command,
        result.runs,
        str(seed),
        result.changes,
        found["lost"],
        found["duplicated"],
        found["out_of_order"],
    )


if __name__ == "__main__":
    sys.exit(main())
