"""What an instance remembers between runs: ports, passwords, and the SQL already applied."""

import json
import secrets
import threading
from pathlib import Path
from typing import TypedDict

from stack.files import write_whole
from stack.layout import Layout

PASSWORDS = ("mysql-root", "mysql-admin", "mysql-capture", "mysql-shop", "postgres-superuser", "postgres-cdc")


class Remembered(TypedDict):
    """The contents of state.json."""

    ports: dict[str, int]
    applied: dict[str, str]


class State:
    """Reads and writes the instance's state; safe to share between threads."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.home / "state.json"
        self._secrets = layout.secrets
        self._guard = threading.Lock()
        self._data: Remembered = {"ports": {}, "applied": {}}
        if self._path.exists():
            self._data.update(json.loads(self._path.read_text()))

    def port(self, name: str) -> int:
        """Return the port that was chosen for a listener."""
        return self._data["ports"][name]

    @property
    def ports(self) -> dict[str, int]:
        """Return a copy of all the ports."""
        return dict(self._data["ports"])

    def set_ports(self, ports: dict[str, int]) -> None:
        """Remember the chosen ports."""
        with self._guard:
            self._data["ports"] = dict(ports)
            self._save()

    def applied(self, name: str) -> str | None:
        """Return the digest of a setup file when it was last applied."""
        return self._data["applied"].get(name)

    def set_applied(self, name: str, digest: str) -> None:
        """Remember that a setup file was applied."""
        with self._guard:
            self._data["applied"][name] = digest
            self._save()

    def password(self, name: str) -> str:
        """Return a password, generated at its first use."""
        path = self._password_file(name)
        with self._guard:
            if not path.exists():
                write_whole(path, secrets.token_hex(16), 0o600)
        return path.read_text()

    def _password_file(self, name: str) -> Path:
        if name not in PASSWORDS:
            raise KeyError(name)
        return self._secrets / name

    def _save(self) -> None:
        write_whole(self._path, json.dumps(self._data, indent=2, sort_keys=True) + "\n", 0o600)
