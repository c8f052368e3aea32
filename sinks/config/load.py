"""Build the configuration from its sources; a later one wins.

Defaults, then ``cdc.toml``, then ``endpoints.json`` of a local native stack, then the environment: variable
``CDC_SINKS__REPLICA__DSN`` is key ``sinks.replica.dsn``. A secret may also be given as the path of a file
that holds it: ``dsn_file = "…"`` or ``CDC_SINKS__REPLICA__DSN_FILE``.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from sinks.config.model import Config, Sink, is_secret
from sinks.config.problems import (
    InvalidConfigError,
    Problem,
    did_you_mean,
    environment_name,
    from_pydantic,
    known_keys,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sinks.config.problems import Path as Keys

FILE_NAME = "cdc.toml"
_PREFIX = "CDC_"
_CONFLUENT_API = "/apis/ccompat/v7"
_OF_PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Loaded:
    """The configuration, and where each value that is not a default came from.

    Attributes:
        config: the values.
        origins: path of keys → file or environment variable.
        file: the configuration file read, if there is one.
        home: state directory of the local native stack; it may not exist.
    """

    config: Config
    origins: Mapping[Keys, str]
    file: Path | None
    home: Path


@dataclass
class _Gathered:
    """Values of all sources so far, their origins, and what was wrong with them."""

    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[Keys, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def put(self, path: Keys, value: object, origin: str, base: Path) -> None:
        """Take a value; one of a secret's ``…_file`` key is read from that file, relative to ``base``."""
        stem = (*path[:-1], path[-1].removesuffix("_file"))
        if path[-1].endswith("_file") and is_secret(stem):
            try:
                value = (base / str(value)).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                what = error.strerror if isinstance(error, OSError) and error.strerror else "not a text file"
                self.problems.append(Problem(f"{origin}: {'.'.join(path)}", f"can't read the file: {what}"))
                value = "unread"
            path = stem
        node = self.tree
        for part in path[:-1]:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                self.problems.append(
                    Problem(f"{origin}: {'.'.join(path)}", f"{part} is a value, not a table")
                )
                return
            node = child
        node[path[-1]] = value
        self.origins[path] = origin


def load(path: Path | None = None, *, environ: Mapping[str, str], cwd: Path) -> Loaded:
    """Read, merge and check all sources.

    Args:
        path: the file asked for by ``--config``; else ``$CDC_CONFIG``, ``cdc.toml`` here, or the package's.
        environ: the environment.
        cwd: the directory that relative paths start from.

    Raises:
        InvalidConfigError: something is wrong; it lists everything.
    """
    gathered = _Gathered()
    file = _file(path, environ, cwd)
    base = file.parent if file is not None else cwd
    if file is not None:
        _read_toml(file, _shown(file, cwd), gathered)
    home = base / (environ.get("CDC_HOME") or ".stack")
    _read_endpoints(home / "endpoints.json", _shown(home / "endpoints.json", cwd), gathered)
    _read_environment(environ, cwd, gathered)
    gathered.problems += _same_addresses(gathered.tree.get("sinks"))
    sources = _shown(file, cwd) if file is not None else FILE_NAME
    try:
        config = Config.model_validate(gathered.tree)
    except ValidationError as error:
        gathered.problems += from_pydantic(error, gathered.origins, sources)
        raise InvalidConfigError(gathered.problems) from None
    if gathered.problems:
        raise InvalidConfigError(gathered.problems)
    return Loaded(config, gathered.origins, file, home)


def _same_addresses(sinks: object) -> Iterator[Problem]:
    """Find sinks whose workers would listen at one address; seen here so that no other problem hides it."""
    taken: dict[object, str] = {}
    for name, sink in sinks.items() if isinstance(sinks, dict) else ():
        address = sink.get("http", Sink().http) if isinstance(sink, dict) else name
        other = taken.setdefault(address, name)
        if other != name:
            what = f"is the same address as that of sinks.{other}, {address}"
            yield Problem(f"sinks.{name}.http", what, "Give each sink an address of its own")


def _file(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    asked = path or (Path(environ["CDC_CONFIG"]) if environ.get("CDC_CONFIG") else None)
    if asked is not None:
        found = cwd / asked.expanduser()
        if not found.is_file():
            by = "--config" if path is not None else "CDC_CONFIG"
            raise InvalidConfigError([Problem(by, f"there is no file {asked}")])
        return found
    candidates = (cwd / FILE_NAME, _OF_PACKAGE / FILE_NAME)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _shown(file: Path, cwd: Path) -> str:
    return str(file.relative_to(cwd)) if file.is_relative_to(cwd) else str(file)


def _leaves(tree: Mapping[str, Any], path: Keys = ()) -> Iterator[tuple[Keys, object]]:
    for key, value in tree.items():
        below = (*path, key)
        if isinstance(value, dict) and value and below[-1] not in {"routes", "rename_columns"}:
            yield from _leaves(value, below)
        else:
            yield below, value


def _read_toml(file: Path, shown: str, gathered: _Gathered) -> None:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfigError([Problem(shown, f"can't be read: {error.strerror}")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfigError([Problem(shown, f"is not valid TOML: {error}")]) from None
    for path, value in _leaves(tree):
        gathered.put(path, value, shown, file.parent)


def _read_endpoints(file: Path, shown: str, gathered: _Gathered) -> None:
    if not file.is_file():
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        values = list(_of_endpoints(found, gathered.tree.get("sinks", {})))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        gathered.problems.append(
            Problem(shown, "is not what scripts/up writes", "Run ./scripts/up again, or remove the file")
        )
        return
    for path, value in values:
        gathered.put(path, value, shown, file.parent)


def _of_endpoints(found: Mapping[str, Any], sinks: Mapping[str, Any]) -> Iterator[tuple[Keys, object]]:
    """Yield what a native stack's addresses say; only sinks that are configured get one."""
    for key in ("host", "port", "user", "password"):
        if "mysql" in found:
            yield ("mysql", key), found["mysql"][key]
    if "kafka" in found:
        yield ("kafka", "bootstrap"), found["kafka"]["bootstrap"]
    if "connect" in found:
        yield ("connect", "url"), found["connect"]["url"]
    if "registry" in found:
        url = found["registry"]["url"].rstrip("/")
        yield ("registry", "url"), url if urlsplit(url).path else url + _CONFLUENT_API
    for name, sink in sinks.items():
        kind = sink.get("type")
        if kind == "postgres" and "postgres" in found:
            yield ("sinks", name, "dsn"), found["postgres"]["dsn"]
        if kind == "elasticsearch" and "elasticsearch" in found:
            yield ("sinks", name, "url"), found["elasticsearch"]["url"]
    for sink in found.get("sinks", []):
        if sink["name"] in sinks:
            yield ("sinks", sink["name"], "http"), urlsplit(sink["url"]).netloc


def _read_environment(environ: Mapping[str, str], cwd: Path, gathered: _Gathered) -> None:
    sections = known_keys(())
    for variable in sorted(environ):
        if not variable.upper().startswith(_PREFIX):
            continue
        path = tuple(variable[len(_PREFIX) :].lower().split("__"))
        if len(path) == 1:
            section, _, rest = path[0].partition("_")
            if section in sections and rest in known_keys((section,)):
                mend = f"Write {environment_name((section, rest))}, with two underscores"
                gathered.problems.append(Problem(variable, "does not name a key", mend))
        elif path[0] not in sections:
            gathered.problems.append(Problem(variable, "unknown section", did_you_mean(path[0], sections)))
        else:
            gathered.put(_spelled(path, gathered.tree), environ[variable], variable, cwd)


def _spelled(path: Keys, tree: Mapping[str, Any]) -> Keys:
    """Spell a variable's path as the file does: upper case and dashes are lost in a variable's name."""
    spelled: list[str] = []
    node: Any = tree
    for part in path:
        keys = node if isinstance(node, dict) else {}
        name = next((key for key in keys if key.lower().replace("-", "_") == part), part)
        spelled.append(name)
        node = keys.get(name)
    if spelled[:2] == ["kafka", "options"]:
        spelled[2:] = [part.replace("_", ".") for part in spelled[2:]]
    return tuple(spelled)
