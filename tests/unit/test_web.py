from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from sinks.change import Progress, TopicPartition
from sinks.errors import ConfigError, FatalError
from sinks.health import State, WorkerStatus
from sinks.metrics import WorkerMetrics
from sinks.targets.base import Batch
from sinks.web import Server, create_app, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDERS = TopicPartition("cdc.shop.orders", 0)


@pytest.fixture
def status() -> WorkerStatus:
    return WorkerStatus("replica")


@pytest.fixture
def metrics() -> WorkerMetrics:
    return WorkerMetrics("replica")


@pytest.fixture
def server(status: WorkerStatus, metrics: WorkerMetrics) -> Iterator[Server]:
    server = serve(create_app(status, metrics), "127.0.0.1", 0)
    yield server
    server.close()


def test_live_and_ready_follow_the_state(status: WorkerStatus, server: Server) -> None:
    def codes() -> tuple[int, int]:
        return tuple(httpx.get(f"{server.url}{page}").status_code for page in ("/livez", "/readyz"))  # type: ignore[return-value]

    assert codes() == (200, 503)
    status.set_state(State.RUNNING)
    assert codes() == (200, 200)
    status.set_state(State.DEGRADED)
    assert codes() == (200, 503)
    status.set_state(State.FAILED, FatalError("boom"))
    assert codes() == (503, 503)
    assert httpx.get(f"{server.url}/health").json()["error"]["what"] == "boom"


def test_metrics_hold_what_was_noted(status: WorkerStatus, metrics: WorkerMetrics, server: Server) -> None:
    progress = {ORDERS: Progress(10, gtid="u:1", source_ms=1_000, counts={"c": 7})}
    status.set_state(State.RUNNING)
    status.record_applied(progress, 2_000)
    status.record_position(ORDERS, 15, at_end=False)
    metrics.decoded(10, 0.01)
    metrics.applied(Batch((), progress), 0.02, 3_000)
    metrics.retried()
    text = httpx.get(f"{server.url}/metrics").text
    for line in (
        'cdc_changes_total{op="c",sink="replica"} 7.0',
        'cdc_records_total{sink="replica"} 10.0',
        'cdc_lag_records{sink="replica"} 5.0',
        'cdc_latency_seconds_sum{sink="replica"} 2.0',
        'cdc_retries_total{sink="replica"} 1.0',
        'cdc_breaker_state{sink="replica"} 0.0',
        'cdc_worker_state{sink="replica",state="running"} 1.0',
    ):
        assert line in text


def test_an_address_in_use_is_told(status: WorkerStatus, server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match="running already"):
        serve(create_app(status, WorkerMetrics("x")), "127.0.0.1", port)


def test_close_frees_the_port(status: WorkerStatus) -> None:
    server = serve(create_app(status, WorkerMetrics("x")), "127.0.0.1", 0)
    assert httpx.get(f"{server.url}/livez").text == "alive\n"
    server.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/livez")
