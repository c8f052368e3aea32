"""Registers Debezium's connector, and believes that it runs when something new comes out of it."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from stack.errors import StackError
from stack.layout import REPO

CONNECTORS = REPO / "connect" / "connectors"
NAME = "mysql-source"
RUNNING_SECONDS = 90
PULSE_SECONDS = 60
POLL_SECONDS = 0.2
NOT_FOUND = 404
PASSING = {409, 500, 503}


class Connectors:
    """The connectors of one Connect worker."""

    def __init__(self, url: str, bootstrap: str) -> None:
        self._url = url
        self._bootstrap = bootstrap

    def register(self) -> None:
        """Put every connector's configuration (a no-op where it is the same), and wait until it delivers.

        A connector can hang while its state is RUNNING; the source's own heartbeat, once a second, must come
        out at the end. If it doesn't, a restart is tried once.
        """
        for path in sorted(CONNECTORS.glob("*.json")):
            definition = json.loads(path.read_text())
            name = definition["name"]
            if self._ask("GET", f"/connectors/{name}/config") != {**definition["config"], "name": name}:
                self._ask("PUT", f"/connectors/{name}/config", definition["config"])
            self._wait_until_running(name)
            self._make_sure(name, definition["config"]["topic.prefix"])

    def _make_sure(self, name: str, prefix: str) -> None:
        """Restart a connector once if nothing comes out of it."""
        if self._delivers(prefix, PULSE_SECONDS):
            return
        self._ask("POST", f"/connectors/{name}/restart?includeTasks=true")
        self._wait_until_running(name)
        if not self._delivers(prefix, RUNNING_SECONDS):
            raise StackError(
                f"connector {name} says that it runs, but nothing comes out of it",
                "connect.log may tell why.",
            )

    def _wait_until_running(self, name: str) -> None:
        deadline = time.monotonic() + RUNNING_SECONDS
        restarted = False
        while True:
            status = self._ask("GET", f"/connectors/{name}/status") or {}
            parts = [status.get("connector", {}), *status.get("tasks", [])]
            states = [part.get("state", "absent") for part in parts]
            if len(states) > 1 and set(states) == {"RUNNING"}:
                return
            failed = [part for part in parts if part.get("state") == "FAILED"]
            if failed and not restarted:
                restarted = True
                self._ask("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true")
            elif time.monotonic() > deadline:
                trace = failed[0].get("trace", "") if failed else ""
                why = trace.partition("\n")[0] or f"its parts are {', '.join(states)}"
                raise StackError(f"connector {name} does not run: {why}", "connect.log has the details.")
            time.sleep(POLL_SECONDS)

    def _delivers(self, prefix: str, seconds: float) -> bool:
        """Tell whether any topic of a connector grows within some time."""
        reader = Consumer({"bootstrap.servers": self._bootstrap, "group.id": "cdc-stack", "log_level": 0})
        try:
            before = _ends(reader, prefix)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                if any(end > before.get(topic, 0) for topic, end in _ends(reader, prefix).items()):
                    return True
        finally:
            reader.close()
        return False

    def _ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - an address of our own
            self._url + path, data, {"Content-Type": "application/json"}, method=method
        )
        deadline = time.monotonic() + RUNNING_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
                    return json.loads(answer.read() or "null")
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
                if error.code == NOT_FOUND:
                    return None
                if error.code not in PASSING or time.monotonic() > deadline:
                    raise StackError(
                        f"Connect refused {method} {path}: {said}",
                        "Mend the configuration in connect/connectors.",
                    ) from error
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"Connect does not answer {path}: {error}", "connect.log has the reason."
                    ) from error
            time.sleep(POLL_SECONDS)


def _ends(reader: Consumer, prefix: str) -> Mapping[str, int]:
    """Return where a connector's topics end: rows, transactions, schema changes and Debezium's heartbeat."""
    ends: dict[str, int] = {}
    try:
        for name, topic in reader.list_topics(timeout=10).topics.items():
            if name in {prefix, f"__debezium-heartbeat.{prefix}"} or name.startswith(f"{prefix}."):
                for part in topic.partitions:
                    bounds = reader.get_watermark_offsets(TopicPartition(name, part), timeout=10)
                    ends[f"{name}-{part}"] = bounds[1] if bounds else 0
    except KafkaException:
        return {}
    return ends
