"""What a statement of MySQL says and the table afterwards does not: renames, columns made anew, defaults.

Debezium's ``tableChanges`` holds a table as it is after a statement. That a column was renamed, rather than
one dropped and another added, stands in the statement only, as does the default as it was written. Tokens are
read rather than a syntax tree: MySQL has more clauses than any parser knows, and a parser that meets one of
them gives up on the whole statement, with the rename that stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from sinks.table_schema import TableId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_NOT_COLUMNS = {
    *("INDEX", "KEY", "PRIMARY", "UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "FOREIGN", "CHECK"),
    *("PARTITION", "PERIOD"),
}
_NOT_TABLES = {*_NOT_COLUMNS, "COLUMN"}
_HEX, _BITS, _TEXT, _NUMBER = (
    TokenType.HEX_STRING,
    TokenType.BIT_STRING,
    TokenType.STRING,
    TokenType.NUMBER,
)
_TRUTH = {"TRUE": "1", "FALSE": "0"}
_HEX_BASE, _BIT_BASE = 16, 2


@dataclass(frozen=True, slots=True)
class Default:
    """The value that rows which were there get in an added column.

    Attributes:
        value: its text; bytes of a hexadecimal or binary literal; None: the type's own (NULL, 0, '').
        known: whether the statement alone tells it; not so for expressions, times and generated columns.
    """

    value: str | bytes | None = None
    known: bool = True


@dataclass(frozen=True)
class Statement:
    """What one statement does to one table.

    Attributes:
        renamed: new name of each renamed column → the old one.
        added: each column that is a new one, also where one of its name was there before → its default.
        tables: old name → new name, of renamed tables; the database is empty where none is named.
        dropped_database: a database that goes with all its tables; empty: none.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, Default] = field(default_factory=dict)
    tables: Mapping[TableId, TableId] = field(default_factory=dict)
    dropped_database: str = ""


def read(ddl: str) -> Statement:
    """Read a statement. One that is neither an ALTER nor a RENAME says nothing of this kind."""
    try:
        tokens = MySQL().tokenize(ddl)
        if [token.token_type for token in tokens[:2]] == [TokenType.RENAME, TokenType.STRING]:
            tokens = [tokens[0], *MySQL().tokenize(tokens[1].text)]  # the rest was taken for one text
    except TokenError:
        return Statement()
    words = [token.text.upper() for token in tokens]
    if words[:2] in (["RENAME", "TABLE"], ["RENAME", "TABLES"]):
        pairs = (_pair(part) for part in _actions(tokens[2:]))
        return Statement(tables=dict(pair for pair in pairs if pair))
    if words[:1] == ["DROP"] and words[1:2] in (["DATABASE"], ["SCHEMA"]) and tokens[-1].text != ";":
        return Statement(dropped_database=tokens[-1].text)
    if "TABLE" not in words or words[:1] != ["ALTER"]:
        return Statement()
    rest = tokens[words.index("TABLE") + 1 :]
    table, clauses = _name(rest)
    renamed: dict[str, str] = {}
    added: dict[str, Default] = {}
    tables: dict[TableId, TableId] = {}
    for action in _actions(clauses):
        _read_action(action, table, renamed, added, tables)
    return Statement(renamed, added, tables)


def _read_action(
    action: Sequence[Token],
    table: TableId,
    renamed: dict[str, str],
    added: dict[str, Default],
    tables: dict[TableId, TableId],
) -> None:
    words = [_word(token) for token in action]
    match words:
        case ["RENAME", "COLUMN", _, "TO", _, *_]:
            renamed[action[4].text] = action[2].text
        case ["CHANGE", "COLUMN", _, _, *_]:
            renamed[action[3].text] = action[2].text
        case ["CHANGE", _, _, *_]:
            renamed[action[2].text] = action[1].text
        case ["RENAME", "TO" | "AS" | "=", _, *_]:
            tables[table] = _name(action[2:])[0]
        case ["RENAME", what, *_] if what not in _NOT_TABLES:
            tables[table] = _name(action[1:])[0]
        case ["ADD", "COLUMN", "(", *_]:
            added.update(_columns(action[3:-1]))
        case ["ADD", "(", *_]:
            added.update(_columns(action[2:-1]))
        case ["ADD", "COLUMN", _, *_]:
            added.update(_columns(action[2:]))
        case ["ADD", what, *_] if what not in _NOT_COLUMNS:
            added.update(_columns(action[1:]))
        case _:
            pass
    for new in [new for new, old in renamed.items() if new == old]:
        del renamed[new]


def _columns(tokens: Sequence[Token]) -> Iterator[tuple[str, Default]]:
    for definition in _actions(tokens):
        if definition and _word(definition[0]) not in _NOT_COLUMNS:
            yield definition[0].text, _default(definition[1:])


def _default(definition: Sequence[Token]) -> Default:
    words = [_word(token) for token in definition]
    if "AS" in words and "(" in words[words.index("AS") :]:
        return Default(known=False)  # generated
    if "AUTO_INCREMENT" in words:
        return Default(known=False)
    if "DEFAULT" not in words:
        return Default()
    value = list(definition[words.index("DEFAULT") + 1 :])
    sign = ""
    if value and value[0].text in {"-", "+"}:
        sign = value.pop(0).text.strip("+")
    if value and value[0].token_type is TokenType.INTRODUCER:
        value.pop(0)
    if not value:
        return Default(known=False)
    return _literal(value[0], sign)


def _literal(token: Token, sign: str) -> Default:
    kind, text = token.token_type, token.text
    if kind is _TEXT:
        return Default(text)
    if kind is _NUMBER:
        return Default(sign + text)
    if kind is _HEX:
        digits = text.lower().removeprefix("0x")
        return Default(bytes.fromhex(digits.zfill(len(digits) + len(digits) % _BIT_BASE)))
    if kind is _BITS:
        bits = text.lower().removeprefix("0b")
        return Default(int(bits or "0", _BIT_BASE).to_bytes((len(bits) + 7) // 8 or 1, "big"))
    word = text.upper()
    if word == "NULL":
        return Default()
    return Default(_TRUTH[word]) if word in _TRUTH else Default(known=False)


def _word(token: Token) -> str:
    """Return a keyword, or what no keyword can be for a quoted name."""
    quoted = token.token_type in {TokenType.IDENTIFIER, TokenType.STRING}
    return "" if quoted else token.text.upper().partition(" ")[0]  # PRIMARY KEY is one token


def _actions(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Split at the commas that are not within parentheses."""
    depth, action = 0, list[Token]()
    for token in tokens:
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if token.token_type is TokenType.COMMA and depth == 0:
            yield action
            action = []
        else:
            action.append(token)
    yield action


def _name(tokens: Sequence[Token]) -> tuple[TableId, Sequence[Token]]:
    """Read ``table`` or ``database.table``; return it and what follows."""
    if len(tokens) > 2 and tokens[1].token_type is TokenType.DOT:  # noqa: PLR2004 (name, dot, name)
        return TableId(tokens[0].text, tokens[2].text), tokens[3:]
    return TableId("", tokens[0].text if tokens else ""), tokens[1:]


def _pair(tokens: Sequence[Token]) -> tuple[TableId, TableId] | None:
    old, rest = _name(tokens)
    if not rest or _word(rest[0]) != "TO":
        return None
    return old, _name(rest[1:])[0]
