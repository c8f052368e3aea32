"""A small client of Kafka Connect's REST interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import httpx

from sinks.errors import FatalError, OutageError
from sinks.redact import redacted


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """One task: its state as Connect names it (RUNNING, FAILED …) and the last line of what it died of."""

    id: int
    state: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """A connector's state as Connect names it, its tasks, and what it died of."""

    state: str
    tasks: tuple[TaskStatus, ...]
    error: str = ""


class ConnectApi:
    """Kafka Connect at a URL. Use as a context manager."""

    def __init__(
        self, url: str, timeout_seconds: float = 5.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(base_url=self._url, timeout=timeout_seconds, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def status(self, connector: str) -> ConnectorStatus | None:
        """Return the connector's state; None if there is no such connector.

        Raises:
            OutageError: Connect does not answer, or is rebalancing.
            FatalError: it answers something that Connect does not.
        """
        response = self._get(f"/connectors/{quote(connector, safe='')}/status")
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.status_code == httpx.codes.CONFLICT or response.is_server_error:
            raise OutageError(
                f"Kafka Connect answers {response.status_code}: it is starting or rebalancing",
                where=redacted(self._url),
                hint="try again in a few seconds",
            )
        try:
            response.raise_for_status()
            return _status(response.json())
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FatalError(
                f"what answers is not Kafka Connect (status {response.status_code})",
                where=redacted(self._url),
                hint="check connect.url",
            ) from error

    def restart(self, connector: str, *, only_failed: bool) -> None:
        """Restart a connector and its tasks, or only what of them failed; returns before they are back.

        Raises:
            OutageError: Connect does not answer, or is rebalancing.
        """
        path = f"/connectors/{quote(connector, safe='')}/restart"
        params = {"includeTasks": "true", "onlyFailed": "true" if only_failed else "false"}
        response = self._ask("POST", path, params)
        if not response.is_success:
            raise OutageError(
                f"Kafka Connect answers {response.status_code} to a restart", where=redacted(self._url)
            )

    def _get(self, path: str) -> httpx.Response:
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, params: dict[str, str] | None = None) -> httpx.Response:
        try:
            return self._client.request(method, path, params=params)
        except httpx.HTTPError as error:
            raise OutageError(
                f"Kafka Connect can't be reached: {redacted(str(error)) or type(error).__name__}",
                where=redacted(self._url),
                hint="is it running? ./scripts/up starts a local one",
            ) from error


def _status(answer: Any) -> ConnectorStatus:  # noqa: ANN401 (JSON)
    tasks = tuple(
        TaskStatus(task["id"], task["state"], _cause(task.get("trace"))) for task in answer["tasks"]
    )
    of = answer["connector"]
    return ConnectorStatus(of["state"], tasks, _cause(of.get("trace")))


def _cause(trace: str | None) -> str:
    """Return the innermost cause of a Java stack trace, on one line."""
    lines = [line.strip() for line in (trace or "").splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return redacted((causes or lines or [""])[-1 if causes else 0])
