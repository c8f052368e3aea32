"""The configuration as it may be shown: secrets, and passwords inside addresses, are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, SecretStr

from sinks.redact import HIDDEN, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinks.config.load import Loaded


class Shown(NamedTuple):
    """One value as it may be shown, and where it came from."""

    key: str
    value: Any
    origin: str


def shown(loaded: Loaded) -> list[Shown]:
    """Return every value of the configuration, defaults included, without its secrets."""
    return [
        Shown(".".join(path), _safe(path, value), loaded.origins.get(path, "default"))
        for path, value in _values(loaded.config)
    ]


def _values(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, field in type(model).model_fields.items():
        if not field.exclude:
            yield from _below((*path, name), getattr(model, name))


def _below(path: tuple[str, ...], value: object) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(value, BaseModel):
        yield from _values(value, path)
    elif isinstance(value, dict) and any(isinstance(item, BaseModel | SecretStr) for item in value.values()):
        for key, item in value.items():
            yield from _below((*path, key), item)
    else:
        yield path, value


def _safe(path: tuple[str, ...], value: object) -> object:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        if path[-1] == "dsn":
            return redacted(secret)
        return HIDDEN if secret else ""
    if isinstance(value, str):
        return redacted(value)
    return list(value) if isinstance(value, tuple) else value
