"""Where things lie: the repository, one instance's state, and the cache that all instances share."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Layout:
    """The folders of one stack instance."""

    home: Path
    cache: Path

    @classmethod
    def find(cls, home: Path | None = None, cache: Path | None = None) -> "Layout":
        """Take what is given, else CDC_HOME and CDC_CACHE, else the defaults."""
        chosen_home = home or Path(os.environ.get("CDC_HOME") or REPO / ".stack")
        user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        chosen_cache = cache or Path(os.environ.get("CDC_CACHE") or user_cache / "cdc-stack")
        return cls(chosen_home.expanduser().absolute(), chosen_cache.expanduser().absolute())

    @property
    def logs(self) -> Path:
        """One log file per server."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """Process files, one per server."""
        return self.home / "run"

    @property
    def secrets(self) -> Path:
        """Generated passwords, readable by their owner only."""
        return self.home / "secrets"

    @property
    def endpoints(self) -> Path:
        """The file by which sinks, tools and tests find the servers."""
        return self.home / "endpoints.json"

    @property
    def lock(self) -> Path:
        """The lock of this instance; it lies in the cache, so that the instance's folder can be removed."""
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        return self.cache / "locks" / f"home-{digest}"

    def of(self, server: str) -> Path:
        """Return the folder with the data and configuration of one server."""
        return self.home / server

    def log(self, server: str) -> Path:
        """Return the log file of one server."""
        return self.logs / f"{server}.log"

    def make(self) -> None:
        """Create the folders of the instance."""
        for folder in (self.home, self.logs, self.run, self.cache):
            folder.mkdir(parents=True, exist_ok=True)
        self.secrets.mkdir(mode=0o700, exist_ok=True)
