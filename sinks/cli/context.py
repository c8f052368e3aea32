"""What every command is handed: where the configuration is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sinks.config import Config, Loaded, SinkConfig, load
from sinks.config.problems import did_you_mean
from sinks.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass
class Context:
    """The configuration, read when it is first asked for."""

    config_file: Path | None
    environ: Mapping[str, str]
    cwd: Path

    @cached_property
    def loaded(self) -> Loaded:
        """The configuration and where its values came from."""
        return load(self.config_file, environ=self.environ, cwd=self.cwd)

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.loaded.config

    def sinks(self, names: Sequence[str]) -> list[SinkConfig]:
        """Return the sinks of these names, or all.

        Raises:
            ConfigError: there is no sink of a name.
        """
        known = self.config.sinks
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"there is no sink {name!r}", where="--sink", hint=did_you_mean(name, list(known))
                )
        return [known[name] for name in dict.fromkeys(names or known)]
