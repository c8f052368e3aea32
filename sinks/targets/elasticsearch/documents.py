r"""Bulk operations of a segment, built as columns: action line and document line of each change.

Document id: a key of one column is its value as text. Keys of several columns are joined by a comma; commas
and backslashes in their values are preceded by a backslash, and NULL is ``\N``. What Elasticsearch can't
take as an id (empty, longer than 512 bytes) and what looks like the following is ``sha256:`` and the text's
hash.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, assert_never

import polars as pl

from sinks.change import OFFSET_BITS
from sinks.mysql_types import Kind, rule_of
from sinks.targets.elasticsearch.mapping import field_name

if TYPE_CHECKING:
    from sinks.table_schema import Column, TableSchema

_ID_BYTES = 512
_HASHED = "sha256:"
_SECOND = 1_000_000


def document_ids(schema: TableSchema, frame: pl.DataFrame) -> pl.Series:
    """Return the document id of each row of a frame."""
    key = [
        (_value(schema.columns[i], f"c{i}").cast(pl.String), schema.columns[i]) for i in schema.key_indices
    ]
    nullable = any(column.nullable for _, column in key)
    return joined_id(frame, [value for value, _ in key], plain=not nullable)


def joined_id(frame: pl.DataFrame, key: list[pl.Expr], *, plain: bool) -> pl.Series:
    """Join the texts of a key's values.

    Args:
        frame: holds them.
        key: one expression per column of the key.
        plain: whether none of them may be NULL: a single one then stands for itself.
    """
    if len(key) == 1 and plain:
        joined = key[0]
    else:
        joined = pl.concat_str([_escaped(value) for value in key], separator=",")
    unfit = (joined.str.len_bytes() > _ID_BYTES) | (joined == "") | joined.str.starts_with(_HASHED)
    ids, bad = frame.select(id=joined, unfit=unfit)
    if not bad.any():
        return ids
    hashed = [_hash(text) if hash_it else text for text, hash_it in zip(ids, bad, strict=True)]
    return pl.Series("id", hashed, dtype=pl.String)


def _escaped(value: pl.Expr) -> pl.Expr:
    text = value.str.replace_all("\\", "\\\\", literal=True).str.replace_all(",", "\\,", literal=True)
    return text.fill_null("\\N")


def _hash(text: str) -> str:
    return _HASHED + hashlib.sha256(text.encode()).hexdigest()


def operations(schema: TableSchema, frame: pl.DataFrame, *, index: str, generation: int) -> pl.DataFrame:
    """Build the bulk operations of a frame whose keys differ.

    Returns:
        ``key``: the key on the wire; ``line``: action and document, each with its line end; ``fault``: why
        the row can't be written as a document, else null.
    """
    version = pl.lit(generation << OFFSET_BITS, pl.Int64) + pl.col("offset")
    action = pl.struct(
        pl.lit(index).alias("_index"),
        pl.lit(document_ids(schema, frame)).alias("_id"),
        version.alias("version"),
        pl.lit("external_gte").alias("version_type"),
    ).struct.json_encode()
    delete = pl.concat_str(pl.lit('{"delete":'), action, pl.lit("}\n"))
    put = pl.concat_str(pl.lit('{"index":'), action, pl.lit("}\n"), _document(schema), pl.lit("\n"))
    return frame.select(
        "key",
        line=pl.when("deleted").then(delete).otherwise(put),
        fault=pl.when(~pl.col("deleted")).then(_fault(schema)),
    )


def delete_lines(index: str, ids: pl.Series, versions: pl.Series) -> pl.Series:
    """Return the action lines that delete documents, each at its version."""
    action = pl.struct(
        pl.lit(index).alias("_index"),
        pl.col("_id"),
        pl.col("version"),
        pl.lit("external_gte").alias("version_type"),
    ).struct.json_encode()
    line = pl.concat_str(pl.lit('{"delete":'), action, pl.lit("}\n"))
    return pl.DataFrame({"_id": ids, "version": versions}).select(line=line).to_series()


def _document(schema: TableSchema) -> pl.Expr:
    """All fields as one JSON object; JSON columns stand in it as they are, behind the others."""
    plain: list[pl.Expr] = []
    raw: list[pl.Expr] = []
    for i, column in enumerate(schema.columns):
        name = field_name(column.name)
        if rule_of(column.type).kind is Kind.JSON:
            raw += [pl.lit(f",{_quoted(name)}:"), _raw_json(f"c{i}")]
        else:
            plain.append(_value(column, f"c{i}").alias(name))
    document = pl.struct(plain).struct.json_encode()
    return pl.concat_str(document.str.strip_suffix("}"), *raw, pl.lit("}")) if raw else document


def _quoted(name: str) -> str:
    escaped = pl.select(pl.struct(pl.lit(0).alias(name)).struct.json_encode()).item()
    return str(escaped)[1:-3]


def _raw_json(name: str) -> pl.Expr:
    # Line ends between tokens would end the document's line; within a string JSON has them escaped.
    return pl.col(name).str.replace_all("[\r\n]", " ").fill_null("null")


def _fault(schema: TableSchema) -> pl.Expr:
    """Why a row can't be a document. Text that is no JSON must not be put into one: it could end it early."""
    fault = pl.lit(None, dtype=pl.String)
    for i, column in enumerate(schema.columns):
        if rule_of(column.type).kind is Kind.JSON:
            text = pl.col(f"c{i}")
            parsed = text.str.json_path_match("$").is_not_null() | (text.str.strip_chars() == "null")
            reason = pl.lit(f"column {column.name!r} holds malformed JSON")
            fault = pl.when(text.is_null() | parsed).then(fault).otherwise(reason)
    return fault


def _value(column: Column, name: str) -> pl.Expr:
    """A column's values as they stand in the document."""
    value = pl.col(name)
    kind = rule_of(column.type).kind
    match kind:
        case Kind.DECIMAL | Kind.TIMESTAMP | Kind.TEXT | Kind.JSON:
            return value
        case Kind.INTEGER | Kind.FLOAT | Kind.DOUBLE | Kind.BOOLEAN | Kind.VECTOR:
            return value
        case Kind.BIG_UNSIGNED | Kind.DATE:
            return value.cast(pl.String)
        case Kind.DATETIME:
            return value.dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
        case Kind.TIME:
            return _time(value)
        case Kind.BINARY:
            return value.bin.encode("base64")
        case Kind.GEOMETRY:
            return value.struct.field("wkb").bin.encode("base64")
        case Kind.BITS:
            digits = column.type.length or 1
            return value.map_elements(
                lambda bits: format(int.from_bytes(bits, "little"), f"0{digits}b"), return_dtype=pl.String
            )
        case _:
            assert_never(kind)


def _time(value: pl.Expr) -> pl.Expr:
    """``[-]HH:MM:SS[.ffffff]``: hours may have three digits; a fraction of zero is left out."""
    micros = value.abs()
    seconds = micros // _SECOND
    fraction = micros % _SECOND

    def digits(number: pl.Expr, width: int) -> pl.Expr:
        return number.cast(pl.String).str.zfill(width)

    return pl.concat_str(
        pl.when(value < 0).then(pl.lit("-")).otherwise(pl.lit("")),
        digits(seconds // 3600, 2),
        pl.lit(":"),
        digits(seconds // 60 % 60, 2),
        pl.lit(":"),
        digits(seconds % 60, 2),
        pl.when(fraction > 0).then(pl.lit(".") + digits(fraction, 6)).otherwise(pl.lit("")),
    )
