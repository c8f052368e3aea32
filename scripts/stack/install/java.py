"""Find a JDK that can run all of the servers, wherever it is on the machine."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stack.process import output

OLDEST = 21
NEWEST_TRIED = 25
NEEDED = ("jdk.jdi", "jdk.compiler", "jdk.incubator.vector")
FOLDERS = (
    "/usr/lib/jvm",
    "/usr/java",
    "/opt/java",
    "/opt/jdk",
    "/usr/local/lib/jvm",
    "~/.sdkman/candidates/java",
)


@dataclass(frozen=True)
class Java:
    """A JDK."""

    home: Path
    major: int

    @property
    def command(self) -> str:
        """Return the path of its `java`."""
        return str(self.home / "bin" / "java")

    def compile(self) -> list[str]:
        """Return the command line of its compiler."""
        return [self.command, "-m", "jdk.compiler/com.sun.tools.javac.Main"]


def find() -> Java | None:
    """Return the newest JDK among those that were tried, else the oldest of the newer ones."""
    usable = [java for java in map(_look, _homes()) if java and java.major >= OLDEST]
    tried = [java for java in usable if java.major <= NEWEST_TRIED]
    if tried:
        return max(tried, key=lambda java: java.major)
    return min(usable, key=lambda java: java.major, default=None)


def _homes() -> Iterator[Path]:
    seen: set[Path] = set()
    candidates = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    found = shutil.which("java")
    if found:
        candidates.append(Path(found).resolve().parent.parent)
    for folder in FOLDERS:
        candidates += sorted(Path(folder).expanduser().glob("*"))
    for home in candidates:
        real = home.resolve()
        if (real / "bin" / "java").exists() and real not in seen:
            seen.add(real)
            yield real


def _look(home: Path) -> Java | None:
    """Read the JDK's own description; ask the JDK itself where there is none."""
    release = home / "release"
    text = release.read_text(errors="replace") if release.exists() else ""
    version = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    modules = re.search(r'^MODULES="([^"]*)"', text, re.MULTILINE)
    names = set(modules.group(1).split()) if modules else _modules(home)
    major = int(version.group(1)) if version else _major(home)
    return Java(home, major) if major and names.issuperset(NEEDED) else None


def _modules(home: Path) -> set[str]:
    listed = output([str(home / "bin" / "java"), "--list-modules"])
    return {line.partition("@")[0] for line in listed.splitlines()}


def _major(home: Path) -> int:
    told = re.search(r"^\w+ (\d+)", output([str(home / "bin" / "java"), "--version"]))
    return int(told.group(1)) if told else 0
