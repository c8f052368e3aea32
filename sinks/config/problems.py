"""What is wrong with a configuration: every problem at once, each with its place and its mend."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from sinks.config.model import Config, ElasticsearchSink, HttpSink, PostgresSink
from sinks.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_SINKS: dict[str, type[BaseModel]] = {
    "postgres": PostgresSink,
    "elasticsearch": ElasticsearchSink,
    "http": HttpSink,
}
_SINK_DEPTH = 2
Path = tuple[str, ...]


class Problem(NamedTuple):
    """One thing to mend: where (file or variable, and key), what is wrong, what to do."""

    where: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f". {self.mend}" if self.mend else "")


class InvalidConfigError(ConfigError):
    """The configuration can't be used; ``problems`` lists all that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"the configuration has {count}:{lines}")


def environment_name(path: Path) -> str:
    """Return the environment variable that sets the value at ``path``."""
    return "CDC_" + "__".join(part.upper().replace("-", "_") for part in path)


def known_keys(path: Path) -> list[str]:
    """Return the keys that may stand under ``path``; empty where any may."""
    if path[:1] == ("sinks",) and len(path) > 1:
        if len(path) > _SINK_DEPTH:
            return []
        names = {name for model in _SINKS.values() for name in model.model_fields}
        return sorted(names - {"name"})
    model: Any = Config
    for part in path:
        field = model.model_fields.get(part)
        model = field.annotation if field is not None else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return a sentence that names the nearest known word, or all of them if none is near."""
    near = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(known)}" if known else ""


def from_pydantic(error: ValidationError, origins: Mapping[Path, str], sources: str) -> list[Problem]:
    """Turn pydantic's findings into problems.

    Args:
        error: what pydantic found.
        origins: path of each value given → file or variable that it came from.
        sources: the files looked at, to name where a missing value may be put.
    """
    return [
        _problem(detail, origins, sources) for detail in error.errors(include_url=False, include_input=False)
    ]


def _problem(detail: ErrorDetails, origins: Mapping[Path, str], sources: str) -> Problem:
    path = _path(detail["loc"])
    key = ".".join(path) or "the configuration"
    origin = _origin(path, origins)
    where = f"{origin}: {key}" if origin else key
    match detail["type"]:
        case "missing" | "too_short" if path[:1] == ("sinks",) and len(path) == 1:
            return Problem(sources, "no sink is configured", "Add a section [sinks.replica]; see cdc.toml")
        case "missing":
            mend = f"Set it in {sources} or as {environment_name(path)}"
            return Problem(where, "is required and not given", mend)
        case "extra_forbidden":
            return Problem(where, "unknown key", did_you_mean(path[-1], known_keys(path[:-1])))
        case "union_tag_not_found":
            return Problem(where, "has no type", f"Add type = {' or '.join(map(repr, _SINKS))}")
        case "union_tag_invalid":
            tag = str(detail.get("ctx", {}).get("tag", ""))
            where = f"{_origin((*path, 'type'), origins)}: {key}.type"
            return Problem(where, f"unknown type {tag!r}", did_you_mean(tag, list(_SINKS)))
        case "value_error":
            return Problem(where, str(detail.get("ctx", {}).get("error", detail["msg"])))
        case _:
            message = detail["msg"]
            return Problem(where, message[:1].lower() + message[1:])


def _path(loc: tuple[int | str, ...]) -> Path:
    """Return the keys of a location: without the union's tag, list positions and marks of key checks."""
    parts = [str(part) for part in loc]
    if parts[:1] == ["sinks"] and len(parts) > _SINK_DEPTH and parts[_SINK_DEPTH] in _SINKS:
        del parts[_SINK_DEPTH]
    return tuple(part for part in parts if not part.isdigit() and part != "[key]")


def _origin(path: Path, origins: Mapping[Path, str]) -> str:
    for end in range(len(path), 0, -1):
        if path[:end] in origins:
            return origins[path[:end]]
    under = {origin for of, origin in origins.items() if of[: len(path)] == path} if path else set()
    return " and ".join(sorted(under))
