"""Tables to test with: one of nearly every MySQL type, with rows at the bounds, and a plain one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.debezium import DECIMAL, Col, Table, inner

if TYPE_CHECKING:
    from tests.debezium import Row

CAST = "io.debezium.time."
DATA = "io.debezium.data."

_WKB = [inner("wkb", "bytes", nullable=False), inner("srid", "int32")]
_POINT = [
    inner("x", "double", nullable=False),
    inner("y", "double", nullable=False),
    inner("wkb", "bytes"),
    inner("srid", "int32"),
]
ID = Col("id", "INT", "int32", nullable=False)
_EVERYTHING = (
    ID,
    Col("t_tiny", "TINYINT", "int16"),
    Col("t_utiny", "TINYINT UNSIGNED", "int16"),
    Col("t_bool", "TINYINT", "int16", length=1),
    Col("t_small", "SMALLINT", "int16"),
    Col("t_usmall", "SMALLINT UNSIGNED", "int32"),
    Col("t_med", "MEDIUMINT", "int32"),
    Col("t_umed", "MEDIUMINT UNSIGNED", "int32"),
    Col("t_int", "INT", "int32"),
    Col("t_uint", "INT UNSIGNED", "int64"),
    Col("t_big", "BIGINT", "int64"),
    Col("t_ubig", "BIGINT UNSIGNED", "bytes", DECIMAL, parameters={"scale": "0"}),
    Col("t_dec", "DECIMAL", length=65, scale=30),
    Col("t_float", "FLOAT", "float"),
    Col("t_double", "DOUBLE", "double"),
    Col("t_bit1", "BIT", "boolean", length=1),
    Col("t_bit64", "BIT", "bytes", DATA + "Bits", length=64, parameters={"length": "64"}),
    Col("t_date", "DATE", "int32", CAST + "Date"),
    Col("t_time", "TIME", "int64", CAST + "MicroTime"),
    Col("t_time6", "TIME", "int64", CAST + "MicroTime", length=6),
    Col("t_dt", "DATETIME", "int64", CAST + "Timestamp"),
    Col("t_dt3", "DATETIME", "int64", CAST + "Timestamp", length=3),
    Col("t_dt6", "DATETIME", "int64", CAST + "MicroTimestamp", length=6),
    Col("t_ts", "TIMESTAMP", "string", CAST + "ZonedTimestamp"),
    Col("t_ts6", "TIMESTAMP", "string", CAST + "ZonedTimestamp", length=6),
    Col("t_year", "YEAR", "int32", CAST + "Year"),
    Col("t_char", "CHAR", length=10),
    Col("t_varchar", "VARCHAR", length=200),
    Col("t_bin", "BINARY", "bytes", length=8),
    Col("t_varbin", "VARBINARY", "bytes", length=50),
    Col("t_tinytext", "TINYTEXT"),
    Col("t_longtext", "LONGTEXT"),
    Col("t_blob", "BLOB", "bytes"),
    Col("t_enum", "ENUM", "string", DATA + "Enum", length=1, parameters={"allowed": r"a,b\,c,d\\e"}),
    Col("t_set", "SET", "string", DATA + "EnumSet", length=5, parameters={"allowed": r"x,y\\y,z"}),
    Col("t_json", "JSON", "string", DATA + "Json"),
    Col("t_point", "POINT", _POINT, DATA + "geometry.Point"),
    Col("t_geom", "GEOMETRY", _WKB, DATA + "geometry.Geometry"),
    Col("t_vector", "VECTOR", "array", DATA + "FloatVector", length=3),
    Col("t_intdef", "INT", "int32", default=5),
    Col("t_chardef", "VARCHAR", length=10, default="dflt"),
    Col("odd-näme", "INT", "int32", nullable=False),
)
FULL: Row = {
    "id": 1,
    "t_tiny": -128,
    "t_utiny": 255,
    "t_bool": 1,
    "t_small": -32768,
    "t_usmall": 65535,
    "t_med": -8388608,
    "t_umed": 16777215,
    "t_int": -2147483648,
    "t_uint": 4294967295,
    "t_big": 9223372036854775807,
    "t_ubig": b"\x00" + b"\xff" * 8,
    "t_dec": "-" + "9" * 35 + "." + "9" * 30,
    "t_float": 3.4028234663852886e38,
    "t_double": 5e-324,
    "t_bit1": True,
    "t_bit64": b"\x01\x00\x00\x00\x00\x00\x00\x80",
    "t_date": 2932896,
    "t_time": 3020399000000,
    "t_time6": -3020399000000,
    "t_dt": -30610224000000,
    "t_dt3": 253402300799999,
    "t_dt6": 253402300799999999,
    "t_ts": "2038-01-19T03:14:07Z",
    "t_ts6": "1970-01-01T00:00:01.000001Z",
    "t_year": 2155,
    "t_char": "",
    "t_varchar": 'héllo 😀 "q" \\ \r\n\t\x00',
    "t_bin": b"\x00\x01" + bytes(6),
    "t_varbin": b"",
    "t_tinytext": "NULL",
    "t_longtext": "\\N,',\\",
    "t_blob": b"\xde\xad\xbe\xef",
    "t_enum": r"b\,c",
    "t_set": r"x,y\\y",
    "t_json": '{"a":[1,2.5,null],"é":"x"}',
    "t_point": {"x": 1.0, "y": 2.0, "wkb": b"\x01\x01", "srid": None},
    "t_geom": {"wkb": b"\x01\x02\x00", "srid": 4326},
    "t_vector": [1.0, 2.5, -3.0],
    "t_intdef": 7,
    "t_chardef": "other",
    "odd-näme": 7,
}
NULLS: Row = {**dict.fromkeys(FULL), "id": 2, "odd-näme": 0}
PLAIN: Row = {
    "id": 1,
    "name": "n",
    "price": "1.00",
    "placed": 0,
    "seen": None,
    "note": "é",
    "rate": 0.5,
    "state": "new",
}
_SIMPLE = (
    ID,
    Col("name", "VARCHAR", length=100),
    Col("price", "DECIMAL", length=10, scale=2),
    Col("placed", "DATETIME", "int64", CAST + "MicroTimestamp", length=6),
    Col("seen", "TIMESTAMP", "string", CAST + "ZonedTimestamp"),
    Col("note", "TEXT"),
    Col("rate", "DOUBLE", "double"),
    Col("state", "ENUM", "string", DATA + "Enum", parameters={"allowed": "new,paid"}),
)


EVERYTHING = Table("everything", _EVERYTHING)
SIMPLE = Table("orders", _SIMPLE)
KEYLESS = Table("log", _SIMPLE, key=())
