"""An HTTP service that keeps rows, honours idempotency keys, and refuses the word poison."""

from __future__ import annotations

import base64
import datetime as dt
import json
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from sinks.mysql_types import Kind, rule_of
from sinks.targets.http import HttpTarget
from tests.contract.harness import Harness, Row, _bits, _float32

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sinks.table_schema import Column, TableSchema
    from sinks.targets.base import Target


class Service:
    """Rows by table and key; lists of rows for tables without a key."""

    def __init__(self) -> None:
        self.tables: dict[str, list[tuple[str, Row]]] = {}
        self.seen: set[str] = set()
        self.requests: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self._lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(service.take(self.headers["Idempotency-Key"], body))

            def do_HEAD(self) -> None:
                self._answer(405)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/changes"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, id_: str, change: dict[str, Any]) -> int:
        with self._lock:
            if self.answers and (status := self.answers.pop(0)) != 200:
                return status
            assert id_ == change["id"]
            self.requests.append(change)
            if "poison" in json.dumps(change.get("row")):
                return 422
            if id_ not in self.seen:
                self.seen.add(id_)
                self._apply(change)
            return 200

    def _apply(self, change: dict[str, Any]) -> None:
        rows = self.tables.setdefault(change["table"], [])
        if change["op"] == "truncate":
            rows.clear()
            return
        key = json.dumps(change["key"]) if change["key"] else ""
        if key:
            rows[:] = [(k, row) for k, row in rows if k != key]
        elif change["op"] == "delete" and (key, change["row"]) in rows:
            rows.remove((key, change["row"]))
        if change["op"] == "upsert":
            rows.append((key, change["row"]))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class HttpHarness(Harness):
    """One service, one state file."""

    coalesces = False
    alters = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.service = Service()
        self.state = str(folder / "state.sqlite")

    def make(self) -> Target:
        return HttpTarget(self.sink, self.service.url, state=self.state)

    def rows(self, schema: TableSchema) -> list[Row]:
        rows = self.service.tables.get(str(schema.table), [])
        return [{c.name: _from_json(c, row.get(c.name)) for c in schema.columns} for _, row in rows]

    def poison(self, target: Target, offset: int) -> tuple[str, str]:
        del target, offset
        return "poison", "{}"

    def close(self) -> None:
        super().close()
        self.service.close()


def _from_json(column: Column, value: Any) -> Any:  # noqa: ANN401
    if value is None:
        return None
    convert: dict[Kind, Callable[[Any], Any]] = {
        Kind.DECIMAL: Decimal,
        Kind.FLOAT: _float32,
        Kind.DATE: dt.date.fromisoformat,
        Kind.DATETIME: dt.datetime.fromisoformat,
        Kind.TIMESTAMP: dt.datetime.fromisoformat,
        Kind.BINARY: base64.b64decode,
        Kind.BITS: lambda text: _bits(column, base64.b64decode(text)),
        Kind.GEOMETRY: lambda value: base64.b64decode(value["wkb"]),
        Kind.VECTOR: lambda numbers: [_float32(number) for number in numbers],
    }
    return convert.get(rule_of(column.type).kind, lambda same: same)(value)
