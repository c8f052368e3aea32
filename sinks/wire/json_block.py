"""Many JSON payloads of one Connect schema at once: joined as lines, read as columns.

Polars 2.1 reads lines strictly, but four things it changes in silence: what is not a string becomes its text
where a string is expected, a missing name becomes null, of a repeated name the first counts, and half a
surrogate pair becomes NUL. The first three show in the numbers of quotes, objects and arrays, which follow
from the schema and from which values are null; records with the last are left to the exact reader.
"""

from __future__ import annotations

import base64
import io
import json
import math
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from sinks.errors import RejectedError
from sinks.wire.fields import exactly

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ConnectSchema = Any
"""A Connect schema as ``JsonConverter`` writes it, parsed."""

_DEPTH_LIMIT = 32
_SCALARS: Mapping[str, type[pl.DataType]] = {
    "int8": pl.Int8,
    "int16": pl.Int16,
    "int32": pl.Int32,
    "int64": pl.Int64,
    "float": pl.Float32,
    "double": pl.Float64,
    "boolean": pl.Boolean,
    "string": pl.String,
    "bytes": pl.Binary,
}
_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
_STRING = r'"(?:[^"\\]|\\.)*"'
_HALF_PAIR = r"\\u[dD][89a-fA-F]"
_FLOAT_MAX = 3.4028235677973366e38
"""What lies between the greatest single-precision number and the next is rounded to it."""


class _UnfitError(Exception):
    """A value is not of its schema's type; says of which type, never which value."""


class JsonBlockReader:
    """Reads payloads of one schema. See ``RecordReader``.

    Args:
        schema: Connect's schema, a struct.

    Attributes:
        schema: names and types of the columns.
    """

    def __init__(self, schema: ConnectSchema) -> None:
        self._schema = schema
        self.schema = pl.Schema({f["field"]: _dtype(f, 0) for f in schema["fields"]})
        self._lines = pl.Schema({f["field"]: _dtype(f, 0, pl.String) for f in schema["fields"]})
        tops = [(f, pl.col(exactly(f["field"]))) for f in schema["fields"]]
        start = _Marks(pl.lit(2 * len(tops)), pl.lit(0), pl.lit(0))
        marks = reduce(_Marks.plus, (_marks(*of) for of in tops), start)
        self._marks = [expected.alias(name) for name, expected in marks._asdict().items()]
        self._fits = reduce(and_, (_fits(*of) for of in tops)).all().alias("fits")
        self._bytes = [_with_bytes(f, of).alias(f["field"]) for f, of in tops if _has_bytes(f)]

    def read(self, values: Sequence[bytes]) -> pl.DataFrame | None:
        """See ``RecordReader``."""
        # A line end between tokens may be any white space, and in a string it is an error in either spelling.
        lines = [value.replace(b"\n", b"\r") for value in values]
        try:
            texts = pl.Series("line", lines, dtype=pl.Binary).cast(pl.String)
            frame = pl.read_ndjson(io.BytesIO(b"\n".join(lines)), schema=self._lines)
            if frame.height != len(values):
                return None
            checks = frame.select(*self._marks, self._fits).with_columns(texts)
            if not checks["fits"].all() or not _marks_agree(checks):
                return None
            return frame.with_columns(self._bytes)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            return None

    def read_one(self, value: bytes) -> dict[str, Any] | str:
        """See ``RecordReader``."""
        try:
            parsed = json.loads(value.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
            row: dict[str, Any] = _exact(parsed, self._schema)
        except _UnfitError as error:
            return str(error)
        except (ValueError, RecursionError) as error:
            return f"not JSON ({type(error).__name__})"
        return row


def _dtype(schema: ConnectSchema, depth: int, of_bytes: type[pl.DataType] = pl.Binary) -> pl.DataType:
    if depth > _DEPTH_LIMIT:
        raise RejectedError("the schema is nested too deeply")
    match schema["type"]:
        case "bytes":
            return of_bytes()
        case "struct":
            return pl.Struct({f["field"]: _dtype(f, depth + 1, of_bytes) for f in schema["fields"]})
        case "array" if schema["items"]["type"] in _SCALARS.keys() - {"bytes"}:
            return pl.List(_dtype(schema["items"], depth + 1, of_bytes))
        case kind if kind in _SCALARS:
            return _SCALARS[kind]()
        case kind:
            raise RejectedError(f"Connect's type {kind!r} is not what Debezium writes for a row")


def _children(schema: ConnectSchema, value: pl.Expr) -> list[tuple[ConnectSchema, pl.Expr]]:
    return [(f, value.struct.field(exactly(f["field"]))) for f in schema["fields"]]


class _Marks(NamedTuple):
    """How many quotes, objects and arrays a value takes in JSON, the whole record's own braces left out."""

    quotes: pl.Expr
    objects: pl.Expr
    arrays: pl.Expr

    def plus(self, other: _Marks) -> _Marks:
        return _Marks(*(mine + of for mine, of in zip(self, other, strict=True)))


def _marks(schema: ConnectSchema, value: pl.Expr) -> _Marks:
    none, present = pl.lit(0), value.is_not_null().cast(pl.Int64)
    match schema["type"]:
        case "string" | "bytes":
            return _Marks(present * 2, none, none)
        case "array" if schema["items"]["type"] == "string":
            strings = value.list.len() - value.list.eval(pl.element().is_null()).list.sum()
            return _Marks(strings.fill_null(0) * 2, none, present)
        case "array":
            return _Marks(none, none, present)
        case "struct":
            own = _Marks(present * (2 * len(schema["fields"])), present, none)
            return reduce(_Marks.plus, (_marks(*of) for of in _children(schema, value)), own)
        case _:
            return _Marks(none, none, none)


def _marks_agree(checks: pl.DataFrame) -> bool:
    """Compare what is there with what is expected; where texts hold such marks too, it looks closer."""
    line = pl.col("line").str
    quotes = line.count_matches('"', literal=True) - line.count_matches('\\"', literal=True)
    plain = (quotes == pl.col("quotes")) & ~line.contains(r"\\", literal=True)
    plain &= line.count_matches(":{", literal=True) == pl.col("objects")
    plain &= line.count_matches(":[", literal=True) == pl.col("arrays")
    suspect = checks.filter(~plain | line.contains(r"\u", literal=True))
    if suspect.is_empty():
        return True
    bare = line.replace_all(_STRING, '"').str
    exact = bare.count_matches('"', literal=True) * 2 == pl.col("quotes")
    exact &= bare.count_matches("{", literal=True) == pl.col("objects") + 1
    exact &= bare.count_matches("[", literal=True) == pl.col("arrays")
    return bool(suspect.select((exact & ~line.contains(_HALF_PAIR)).all()).item())


def _fits(schema: ConnectSchema, value: pl.Expr, parent: pl.Expr | None = None) -> pl.Expr:
    """Say whether a value is not null where it may not be, its Base64 whole and its number a number."""
    checks: list[pl.Expr] = []
    if not schema.get("optional", False):
        checks.append(value.is_not_null() if parent is None else value.is_not_null() | parent.is_null())
    match schema["type"]:
        case "bytes":
            checks.append(_from_base64(value).is_not_null() | value.is_null())
        case "float":
            checks.append(value.is_finite().fill_null(value=True))
        case "array" if schema["items"]["type"] == "float":
            checks.append(value.list.eval(pl.element().is_finite()).list.all().fill_null(value=True))
        case "struct":
            checks += [_fits(of, child, value) for of, child in _children(schema, value)]
    if schema["type"] == "array" and not schema["items"].get("optional", False):
        checks.append(~value.list.eval(pl.element().is_null()).list.any().fill_null(value=False))
    return reduce(and_, checks, pl.lit(value=True))


def _has_bytes(schema: ConnectSchema) -> bool:
    if schema["type"] == "struct":
        return reduce(or_, map(_has_bytes, schema["fields"]), False)
    return bool(schema["type"] == "bytes")


def _from_base64(value: pl.Expr) -> pl.Expr:
    return value.str.decode("base64", strict=False)


def _with_bytes(schema: ConnectSchema, value: pl.Expr) -> pl.Expr:
    """Return the value with its Base64 read."""
    if schema["type"] == "bytes":
        return _from_base64(value)
    if not _has_bytes(schema):
        return value
    fields = [_with_bytes(of, child).alias(of["field"]) for of, child in _children(schema, value)]
    return pl.when(value.is_not_null()).then(pl.struct(fields))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _UnfitError("a name stands twice in one object")
    return found


def _no_constant(_: str) -> None:
    raise _UnfitError("NaN and infinities are not JSON")


def _exact(value: Any, schema: ConnectSchema) -> Any:  # noqa: ANN401  (parsed JSON)
    """Return a parsed value as polars takes it, if it is of its schema's type."""
    kind = schema["type"]
    if value is None:
        if schema.get("optional", False):
            return None
        raise _UnfitError(f"null where a value of type {kind} is required")
    match kind, value:
        case "struct", dict():
            return {f["field"]: _exact(value.get(f["field"]), f) for f in schema["fields"]}
        case "array", list():
            return [_exact(item, schema["items"]) for item in value]
        case "boolean", bool():
            return value
        case "string", str():
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise _UnfitError("half a surrogate pair in a string")
            return value
        case "bytes", str():
            return _base64(value)
        case (("float" | "double"), (int() | float())) if not isinstance(value, bool):
            return _finite(value, kind)
        case (("int8" | "int16" | "int32" | "int64"), int()) if not isinstance(value, bool):
            bits = _BITS[kind]
            if -(1 << bits - 1) <= value < 1 << bits - 1:
                return value
            raise _UnfitError(f"a number beyond {kind}")
        case _:
            raise _UnfitError(f"a value that is not of type {kind}")


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise _UnfitError("bytes that are not Base64") from error


def _finite(value: float, kind: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if abs(number) < (_FLOAT_MAX if kind == "float" else math.inf):
        return number
    raise _UnfitError(f"a number beyond {kind}")
