"""Fetch Debian packages of another suite without touching the machine's own package state."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from stack.errors import StackError
from stack.files import exclusive
from stack.install.pins import Pin
from stack.layout import Layout
from stack.process import output, run
from stack.progress import Reporter

SOURCES = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
NEEDLESS = ("perl", "libperl", "ca-certificates", "debconf", "libpam", "util-linux", "java-common")
ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)$", re.MULTILINE)


def mirror(folder: Path = SOURCES) -> str | None:
    """Return the Debian mirror that this machine's apt uses for its own release."""
    for uri, suites, components in _sources(folder):
        plain = not any(word in suites for word in ("security", "/")) and "main" in components.split()
        if plain and uri.rstrip("/").endswith(("/debian", "debian.list")):
            return uri
    return None


def _sources(folder: Path) -> Iterator[tuple[str, str, str]]:
    listed = [folder / "sources.list", *sorted(folder.glob("sources.list.d/*.list"))]
    for path in listed:
        if path.is_file():
            for found in ONE_LINE.finditer(path.read_text(errors="replace")):
                yield found.group(1), found.group(2), found.group(3)
    for path in sorted(folder.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text(errors="replace")):
            plain = (line.partition(":") for line in stanza.splitlines() if not line.startswith("#"))
            keys = {key.strip().lower(): value.strip() for key, _, value in plain}
            if "deb" in keys.get("types", "").split():
                for uri in keys.get("uris", "").split():
                    yield uri, keys.get("suites", ""), keys.get("components", "")


def fetch(layout: Layout, pin: Pin, into: Path, reporter: Reporter) -> None:
    """Download packages with everything that they need, verified by apt, and unpack them into a folder."""
    source = mirror()
    if source is None:
        raise StackError(
            f"no Debian mirror in this machine's apt sources, so {pin.packages[0]} can't be fetched",
            "Install MySQL 8.4 or newer (mysqld) and a JDK 21 or newer by hand, then run `up` again.",
        )
    with exclusive(layout.cache / "locks" / f"apt-{pin.suite}"):
        apt = Apt(layout, pin.suite, source)
        wanted = apt.choose(pin, reporter)
        with reporter.download(f"{pin.name} {pin.version}", pin.size, apt.arrived):
            apt.get("install", "--download-only", "--yes", *wanted)
        for deb in sorted(apt.archives.glob("*.deb")):
            if deb.name in pin.files:
                pin.check_file(deb)
            if not deb.name.startswith(NEEDLESS):
                run(["dpkg-deb", "--extract", str(deb), str(into)], log=apt.log)
        apt.remove()
    relink(into)


class Apt:
    """A private apt: own state, own cache, one source line, nothing installed."""

    def __init__(self, layout: Layout, suite: str, source: str) -> None:
        self.root = layout.cache / f"apt-{suite}"
        self.archives = self.root / "cache" / "archives"
        self.log = layout.log(f"fetch-{suite}")
        self._suite = suite
        for folder in ("state/lists/partial", "cache/archives/partial", "parts"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (self.root / "sources.list").write_text(f"deb {signed}{source} {suite} main\n")
        settings = {
            "Dir::State": "state",
            "Dir::State::status": "status",
            "Dir::Cache": "cache",
            "Dir::Etc::sourcelist": "sources.list",
            "Dir::Etc::sourceparts": "parts",
            "Dir::Etc::preferencesparts": "parts",
        }
        lines = [f'{key} "{self.root / value}";' for key, value in settings.items()]
        lines += [
            'APT::Install-Recommends "false";',
            'Acquire::Languages "none";',
            'APT::Sandbox::User "root";',
        ]
        config = self.root / "apt.conf"
        config.write_text("\n".join(lines) + "\n")
        self._env = {**os.environ, "APT_CONFIG": str(config)}

    def choose(self, pin: Pin, reporter: Reporter) -> list[str]:
        """Return the packages with the pinned version, or the mirror's newer one with a word about it."""
        self.get("update")
        if not pin.files:
            return list(pin.packages)
        offered = self.offered(pin.packages[0])
        if pin.version in offered:
            return [f"{package}={pin.version}" for package in pin.packages]
        series = pin.version.rsplit(".", 1)[0]
        newer = [version for version in offered if _numbers(version) >= _numbers(series)]
        if not newer:
            raise StackError(
                f"Debian {self._suite} no longer has {pin.name} {pin.version}"
                f" (it has: {', '.join(offered) or 'none'})",
                f"Install mysqld 8.4 or newer by hand, or pin what is there in {LOCK_NAME}.",
            )
        reporter.say(
            f"{pin.name}: Debian {self._suite} has moved from the pinned {pin.version} to {newer[0]};"
            " taking that (verified by apt against Debian's signature)"
        )
        return list(pin.packages)

    def offered(self, package: str) -> list[str]:
        """Return the versions that the mirror has, newest first."""
        told = output(["apt-cache", "madison", package], env=self._env)
        return [line.split("|")[1].strip() for line in told.splitlines() if line.count("|") > 1]

    def remove(self) -> None:
        """Remove the private state and what was downloaded."""
        shutil.rmtree(self.root)

    def arrived(self) -> int:
        """Return how many bytes have been downloaded."""
        return sum(path.stat().st_size for path in self.archives.rglob("*.deb*") if path.is_file())

    def get(self, *arguments: str) -> None:
        """Run apt-get."""
        try:
            run(["apt-get", "-o", "APT::Update::Error-Mode=any", *arguments], env=self._env, log=self.log)
        except StackError as error:
            raise StackError(
                f"apt-get {arguments[0]} failed for Debian {self._suite}:"
                " the mirror could not be reached or verified",
                f"Check the network and the machine's apt sources, then run `up` again; {self.log.name} has"
                " the details.",
            ) from error


LOCK_NAME = "artifacts.toml"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition("-")[0])]


def relink(root: Path) -> None:
    """Point absolute links at the private root that they were meant for."""
    for path in root.rglob("*"):
        if path.is_symlink() and path.readlink().is_absolute():
            inside = root / path.readlink().relative_to("/")
            if inside.exists():
                path.unlink()
                path.symlink_to(os.path.relpath(inside, path.parent))
