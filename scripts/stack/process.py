"""Start, recognise and end the servers' processes; a process is known by its id and its start time."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stack.errors import StackError
from stack.files import write_whole

DROPPED_VARIABLES = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "LD_PRELOAD")
DETACHED = 'log=$1; pidfile=$2; shift 2; "$@" >>"$log" 2>&1 </dev/null & echo $! >"$pidfile"'


@dataclass(frozen=True)
class Launch:
    """How a server is started."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")
    configs: Sequence[Path] = ()

    def fingerprint(self) -> str:
        """Change whenever the running server would have to be restarted to follow."""
        parts = [*self.argv, *(f"{key}={value}" for key, value in sorted(self.env.items()))]
        parts += [path.read_text() for path in self.configs]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Running:
    """A process of ours."""

    pid: int
    started: int
    launch: str


def start_time(pid: int) -> int | None:
    """Return a live process's start in clock ticks since boot; None if it is gone or a zombie.

    A killed process whose first thread is a zombie holds its ports until its last thread has ended.
    """
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - the number is all that counts
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" and len(threads) <= 1 else int(fields[19])


class Process:
    """One server's process, remembered in a file."""

    def __init__(self, name: str, run: Path, log: Path) -> None:
        self.name = name
        self.log = log
        self._file = run / f"{name}.json"

    def running(self) -> Running | None:
        """Return our process if it lives; another process with the same id is not ours."""
        try:
            known = Running(**json.loads(self._file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return known if start_time(known.pid) == known.started else None

    def spawn(self, launch: Launch) -> Running:
        """Start a process that outlives this one."""
        inherited = {key: value for key, value in os.environ.items() if key not in DROPPED_VARIABLES}
        pid_file = self._file.with_suffix(".pid")
        run(
            ["/bin/sh", "-c", DETACHED, "sh", str(self.log), str(pid_file), *launch.argv],
            env={**inherited, **launch.env},
            cwd=launch.cwd,
            new_session=True,
        )
        pid = int(pid_file.read_text())
        pid_file.unlink()
        known = Running(pid, start_time(pid) or 0, launch.fingerprint())
        write_whole(self._file, json.dumps(asdict(known)))
        return known

    def end(self, with_signal: signal.Signals, seconds: float) -> bool:
        """Ask the process to stop and wait; kill it when the time is over. True if it was killed."""
        if self.signal(with_signal) and not self._gone(seconds):
            self.signal(signal.SIGKILL)
            self._gone(10)
            return True
        self._file.unlink(missing_ok=True)
        return False

    def signal(self, which: signal.Signals) -> bool:
        """Send a signal; False if the process isn't there."""
        known = self.running()
        if known is None:
            return False
        try:
            os.kill(known.pid, which)
        except ProcessLookupError:
            return False
        return True

    def _gone(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def last_words(self, lines: int = 3) -> str:
        """Return the end of the log, for an error message."""
        try:
            text = self.log.read_bytes()[-8000:].decode(errors="replace")
        except OSError:
            return ""
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    new_session: bool = False,
    log: Path | None = None,
) -> None:
    """Run a command to its end; its output goes to a log. Raises StackError with what it said last."""
    with open(log or os.devnull, "ab") as out:  # noqa: PTH123 - os.devnull is a name, not a path of ours
        done = subprocess.run(  # noqa: S603 - every command line is built in this package
            argv, env=env, cwd=cwd, start_new_session=new_session, stdout=out, stderr=out, check=False
        )
    if done.returncode:
        where = f"see {log.name} among the logs" if log else "run it by hand to see why"
        raise StackError(
            f"{Path(argv[0]).name} ended with exit code {done.returncode}", f"To mend it, {where}."
        )


def output(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed; an empty text if it failed."""
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - as above
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
