"""Command lines of Java servers."""

from collections.abc import Sequence
from pathlib import Path

from stack.servers.base import Context

LOG_SETTINGS = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
)


def command(context: Context, name: str, heap: str, arguments: Sequence[str]) -> list[str]:
    """Build a command line with a small heap and a temporary folder of its own."""
    scratch = context.layout.of(name) / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    java = context.installer.java()
    return [
        java.command,
        f"-Xmx{heap}",
        f"-Djava.io.tmpdir={scratch}",
        "-Djava.awt.headless=true",
        "-XX:+ExitOnOutOfMemoryError",
        *LOG_SETTINGS,
        *arguments,
    ]


def jars(folder: Path) -> str:
    """Return a class path with all the jars of a folder."""
    return f"{folder}/*"
