"""Choose free ports on the loopback address, and keep them for good."""

import json
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from stack.errors import StackError
from stack.files import exclusive, write_whole
from stack.layout import Layout
from stack.state import State

STEP = 10
LAST = 65_000
LET_GO_SECONDS = 1.0
POLL_SECONDS = 0.05


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port now (connections that linger don't count)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def assign(layout: Layout, state: State, defaults: Mapping[str, int], running: Collection[str]) -> list[str]:
    """Give every listener a port, and return a sentence for each that differs from what one expects.

    A listener in `running` keeps its port unseen. A port that another instance remembers is avoided even
    while that instance is down.
    """
    register = layout.cache / "ports.json"
    said: list[str] = []
    with exclusive(layout.cache / "ports.lock"):
        taken = _of_others(register, layout.home)
        mine = state.ports
        for name, default in defaults.items():
            remembered = mine.get(name)
            if remembered and (name in running or _becomes_free(remembered)):
                continue
            others = {port for key, port in mine.items() if key != name} | set(taken)
            mine[name] = next(port for port in _candidates(default) if port not in others and is_free(port))
            if mine[name] != default or remembered:
                said.append(f"port {remembered or default} is taken: {name} listens on {mine[name]}")
        state.set_ports(mine)
        taken |= {port: str(layout.home) for port in mine.values()}
        write_whole(register, json.dumps(taken, indent=2, sort_keys=True))
    return said


def _becomes_free(port: int) -> bool:
    """Tell whether a port is free, or will be in a moment: a server that was killed lets it go late."""
    deadline = time.monotonic() + LET_GO_SECONDS
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _candidates(default: int) -> Iterator[int]:
    yield from range(default, LAST, STEP)
    raise StackError(f"no free port from {default} up in steps of {STEP}", "Stop what occupies them.")


def _of_others(register: Path, home: Path) -> dict[int, str]:
    if not register.exists():
        return {}
    entries = {int(port): owner for port, owner in json.loads(register.read_text()).items()}
    return {
        port: owner
        for port, owner in entries.items()
        if owner != str(home) and (Path(owner) / "state.json").exists()
    }
