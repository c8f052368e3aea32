from __future__ import annotations

import httpx
import pytest

from sinks.connect_api import ConnectApi, ConnectorStatus, TaskStatus
from sinks.errors import FatalError, OutageError


def asked(response: httpx.Response | Exception) -> ConnectorStatus | None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/connectors/mysql-source/status"
        if isinstance(response, Exception):
            raise response
        return response

    with ConnectApi("http://u:secret@c:1", transport=httpx.MockTransport(answer)) as connect:
        return connect.status("mysql-source")


def test_a_failed_task_tells_its_innermost_cause() -> None:
    trace = "org.E: outer\n\tat x\nCaused by: org.F: middle\n\tat y\nCaused by: org.G: inner\n\tat z\n"
    status = {
        "connector": {"state": "RUNNING", "worker_id": "w"},
        "tasks": [{"id": 0, "state": "FAILED", "worker_id": "w", "trace": trace}],
    }
    assert asked(httpx.Response(200, json=status)) == ConnectorStatus(
        "RUNNING", (TaskStatus(0, "FAILED", "org.G: inner"),)
    )


def test_a_missing_connector_is_none() -> None:
    assert asked(httpx.Response(404, json={})) is None


@pytest.mark.parametrize("answer", [httpx.Response(409), httpx.Response(500), httpx.ConnectError("refused")])
def test_no_answer_and_a_rebalance_are_outages(answer: httpx.Response | Exception) -> None:
    with pytest.raises(OutageError) as caught:
        asked(answer)
    assert "secret" not in str(caught.value)


def test_something_else_at_the_address_is_told() -> None:
    with pytest.raises(FatalError, match="not Kafka Connect"):
        asked(httpx.Response(200, text="<html>"))
