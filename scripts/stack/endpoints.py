"""The addresses and passwords by which everybody else finds the servers."""

import json
from typing import Any

from stack.errors import StackError
from stack.files import write_whole
from stack.layout import Layout
from stack.servers.base import HOST, Context
from stack.servers.postgres import Postgres
from stack.servers.registry import CONFLUENT_API

SINKS = ("replica", "search")


def write(context: Context, postgres: Postgres) -> None:
    """Write endpoints.json, readable by its owner only."""
    mysql = {
        "host": HOST,
        "port": context.state.port("mysql"),
        "user": "cdc_admin",
        "password": context.state.password("mysql-admin"),
    }
    content = {
        "mysql": mysql,
        "postgres": {"dsn": postgres.dsn()},
        "elasticsearch": {"url": context.url("elasticsearch")},
        "kafka": {"bootstrap": context.address("kafka")},
        "connect": {"url": context.url("connect")},
        "registry": {"url": context.url("registry") + CONFLUENT_API},
        "sinks": [{"name": name, "url": context.url(f"sink-{name}")} for name in SINKS],
    }
    write_whole(context.layout.endpoints, json.dumps(content, indent=2) + "\n", 0o600)


def read(layout: Layout) -> dict[str, Any]:
    """Read endpoints.json."""
    try:
        content: dict[str, Any] = json.loads(layout.endpoints.read_text())
    except OSError as error:
        raise StackError(
            "there is no endpoints.json: the stack was never up", "Run scripts/up first."
        ) from error
    return content
