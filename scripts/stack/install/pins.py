"""The lock file: which version of what, with every file's size and SHA-256, and no addresses."""

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stack.errors import StackError
from stack.files import sha256
from stack.layout import HERE

LOCK = HERE / "artifacts.toml"
KEY_LENGTH = 10


@dataclass(frozen=True)
class Pin:
    """One bundle of files that are fetched together."""

    name: str
    version: str
    pom: str
    suite: str
    packages: tuple[str, ...]
    download: int
    files: dict[str, tuple[int, str]]

    @property
    def size(self) -> int:
        """Return how many bytes are to be fetched, for the progress bar."""
        return self.download or sum(size for size, _ in self.files.values())

    def key(self, *ingredients: bytes) -> str:
        """Return the name of the installed folder; it changes with anything that goes into it."""
        digest = hashlib.sha256(repr(self).encode())
        for part in ingredients:
            digest.update(part)
        return f"{self.name}-{self.version}-{digest.hexdigest()[:KEY_LENGTH]}"

    def check(self, folder: Path) -> None:
        """Compare what was fetched with the lock: the very same files, byte by byte."""
        found = {path.name for path in folder.iterdir() if path.is_file()}
        missing, unknown = self.files.keys() - found, found - self.files.keys()
        if missing or unknown:
            raise StackError(
                f"{self.name} {self.version} came with other files than {LOCK.name} lists"
                f" (missing: {_listed(missing)}; unknown: {_listed(unknown)})",
                "If the version was changed on purpose, write the lock anew with `python -m stack lock`.",
            )
        for name in sorted(self.files):
            self.check_file(folder / name)

    def check_file(self, path: Path) -> None:
        """Compare one file with the lock."""
        found = sha256(path)
        if found != self.files[path.name][1]:
            path.unlink()
            raise StackError(
                f"{path.name} was fetched with SHA-256 {found[:16]}…, but {LOCK.name} says"
                f" {self.files[path.name][1][:16]}…; it was thrown away",
                "Run `up` again; if it happens twice, what the registry serves is not what was pinned.",
            )


@cache
def pins() -> dict[str, Pin]:
    """Read the lock file."""
    return {
        name: Pin(
            name=name,
            version=entry["version"],
            pom=entry.get("pom", ""),
            suite=entry.get("suite", ""),
            packages=tuple(entry.get("packages", ())),
            download=entry.get("download", 0),
            files={file["name"]: (file["size"], file["sha256"]) for file in entry.get("files", ())},
        )
        for name, entry in tomllib.loads(LOCK.read_text()).items()
    }


def written(name: str, entry: Pin, folder: Path) -> str:
    """Return the lock's section of a bundle whose files lie in a folder."""
    lines = [f"[{name}]", f'version = "{entry.version}"']
    if entry.pom:
        lines.append(f'pom = "{entry.pom}"')
    if entry.suite:
        lines.append(f'suite = "{entry.suite}"')
        lines.append("packages = [" + ", ".join(f'"{package}"' for package in entry.packages) + "]")
        lines.append(f"download = {sum(path.stat().st_size for path in folder.iterdir() if path.is_file())}")
    kept = [path for path in sorted(folder.iterdir()) if entry.pom or path.name in entry.files]
    lines.append("files = [")
    lines += [
        f'  {{ name = "{path.name}", size = {path.stat().st_size}, sha256 = "{sha256(path)}" }},'
        for path in kept
    ]
    return "\n".join([*lines, "]", ""])


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
