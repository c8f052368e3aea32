"""Avro schemas in the form that the columnar reader takes."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from sinks.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Schema = Any
"""An Avro schema as parsed JSON: a name, a union (list) or a definition (dict)."""

NAMED = ("record", "enum", "fixed", "error")
_DEPTH_LIMIT = 32


def plain(schema: Schema) -> Schema:
    """Return the schema with every named type inlined under a name of its own, and nothing but structure.

    The columnar reader can't resolve references to named types; logical types, defaults, aliases and
    Connect's annotations go, so that raw values come out.

    Raises:
        RejectedError: a reference to an unknown type, a recursive type, or nesting beyond reason.
    """
    return _plain(schema, {}, "", count(), 0)


def _plain(
    schema: Schema, named: dict[str, Schema], namespace: str, numbers: Iterator[int], depth: int
) -> Schema:
    if depth > _DEPTH_LIMIT:
        raise RejectedError("the schema is recursive or nested too deeply")
    if isinstance(schema, list):
        return [_plain(branch, named, namespace, numbers, depth + 1) for branch in schema]
    if isinstance(schema, str):
        if (target := named.get(_full_name(schema, namespace))) is not None:
            return _plain(target, named, namespace, numbers, depth + 1)
        return schema
    kind = schema["type"]
    if kind in NAMED:
        full_name = _full_name(schema["name"], schema.get("namespace", namespace))
        named[full_name] = schema
        namespace = full_name.rpartition(".")[0]
    match kind:
        case "record" | "error":
            fields = [
                {"name": f["name"], "type": _plain(f["type"], named, namespace, numbers, depth + 1)}
                for f in schema["fields"]
            ]
            return {"type": "record", "name": f"r{next(numbers)}", "fields": fields}
        case "enum":
            return {"type": "enum", "name": f"e{next(numbers)}", "symbols": schema["symbols"]}
        case "fixed":
            return {"type": "fixed", "name": f"f{next(numbers)}", "size": schema["size"]}
        case "array":
            return {"type": "array", "items": _plain(schema["items"], named, namespace, numbers, depth + 1)}
        case "map":
            return {"type": "map", "values": _plain(schema["values"], named, namespace, numbers, depth + 1)}
        case _:
            return _plain(kind, named, namespace, numbers, depth + 1)


def named_types(schema: Schema, namespace: str = "") -> dict[str, Schema]:
    """Return every named type that the schema defines, by its full name."""
    if isinstance(schema, list):
        return {name: of for branch in schema for name, of in named_types(branch, namespace).items()}
    if not isinstance(schema, dict):
        return {}
    found: dict[str, Schema] = {}
    if schema["type"] in NAMED:
        full_name = _full_name(schema["name"], schema.get("namespace", namespace))
        namespace = full_name.rpartition(".")[0]
        found[full_name] = schema
    inner = [f["type"] for f in schema.get("fields", ())]
    inner += [
        schema[part] for part in ("items", "values", "type") if isinstance(schema.get(part), dict | list)
    ]
    for of in inner:
        found |= named_types(of, namespace)
    return found


def resolved(schema: Schema, named: Mapping[str, Schema], namespace: str) -> Schema:
    """Return the definition that a field's schema refers to by name, or the schema itself."""
    if not isinstance(schema, str):
        return schema
    return named.get(_full_name(schema, namespace), schema)


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def non_null(schema: Schema) -> tuple[Schema, bool]:
    """Return a field's schema without its null branch, and whether it had one."""
    if not isinstance(schema, list):
        return schema, False
    branches = [branch for branch in schema if branch != "null"]
    if len(branches) != 1:
        raise RejectedError("a union of several types is not what Debezium writes")
    return branches[0], len(branches) < len(schema)


def connect_type(schema: Schema) -> tuple[str | None, Mapping[str, str]]:
    """Return Connect's schema name and parameters of a field's non-null schema."""
    if not isinstance(schema, dict):
        return None, {}
    return schema.get("connect.name"), schema.get("connect.parameters", {})
