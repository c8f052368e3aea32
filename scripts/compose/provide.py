"""Gives the compose test what it needs from the native stack's cache; each command prints one line.

compose: the path of Docker Compose 2 (Debian's, where the machine has none).
bundle NAME: the folder of an unpacked server.
mirror: the Debian mirror of this machine.
ports: shell assignments of free ports, for docker-compose.yml.
"""

import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from stack.errors import StackError
from stack.files import build_aside, exclusive
from stack.install import debian
from stack.install.bundles import Installer
from stack.install.pins import Pin
from stack.layout import Layout
from stack.progress import Reporter

SUITE = "trixie"
PORTS = (
    "MYSQL",
    "KAFKA",
    "REGISTRY",
    "CONNECT",
    "POSTGRES",
    "ELASTICSEARCH",
    "REPLICA_SINK",
    "SEARCH_SINK",
)
UNREACHABLE = 3


def compose(layout: Layout, reporter: Reporter) -> str:
    """Return the path of a Docker Compose of the second generation."""
    plugins = [Path("/usr") / lib / "docker/cli-plugins" for lib in ("libexec", "lib")]
    candidates = [
        shutil.which("docker-compose"),
        *(str(folder / "docker-compose") for folder in [Path.home() / ".docker/cli-plugins", *plugins]),
    ]
    for path in candidates:
        if path and Path(path).exists() and _is_second(path):
            return path
    target = layout.cache / "tools" / f"docker-compose-{SUITE}"
    with exclusive(layout.cache / "locks" / "docker-compose"):
        if not target.exists():
            with build_aside(target) as aside:
                pin = Pin("docker-compose", "2", "", SUITE, ("docker-compose",), 0, {})
                debian.fetch(layout, pin, aside, reporter)
    return str(next(target.glob("usr/lib*/docker/cli-plugins/docker-compose")))


def ports() -> str:
    """Return assignments of ports that are free now."""
    with ExitStack() as stack:
        taken = {}
        for name in PORTS:
            probe = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            taken[name] = probe.getsockname()[1]
    return " ".join(f"PORT_{name}={port}" for name, port in taken.items())


def _is_second(path: str) -> bool:
    told = subprocess.run([path, "version", "--short"], capture_output=True, text=True, check=False)  # noqa: S603 - found by name
    return told.returncode == 0 and told.stdout.lstrip("v").startswith(("2.", "3.", "4.", "5."))


def main(arguments: list[str]) -> str:
    """Carry a command out and return what it prints."""
    cache = Layout.find().cache
    layout = Layout(cache / "compose", cache)
    layout.make()
    with Reporter(Console(stderr=True)) as reporter:
        match arguments:
            case ["compose"]:
                return compose(layout, reporter)
            case ["bundle", name]:
                return str(Installer(layout, reporter).ensure(name))
            case ["mirror"]:
                return debian.mirror() or ""
            case ["ports"]:
                return ports()
    return __doc__ or ""


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{main(sys.argv[1:])}\n")
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(UNREACHABLE)
