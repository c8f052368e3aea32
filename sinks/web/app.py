"""The pages of a worker's HTTP endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from sinks.health import WorkerStatus
    from sinks.metrics import WorkerMetrics

_STUCK_SECONDS = 300.0


def create_app(status: WorkerStatus, metrics: WorkerMetrics) -> Starlette:
    """Make the pages of one worker.

    - ``/livez``: 200, or 503 with the reason why the process should be restarted.
    - ``/readyz``: 200 when changes are being taken, 503 with the state otherwise.
    - ``/health``: what the worker knows of itself, as JSON; 200 whatever it says.
    - ``/metrics``: for Prometheus.
    """
    metrics.watch(status)

    async def livez(_: Request) -> Response:
        why = status.dead_because(_STUCK_SECONDS)
        return PlainTextResponse(f"{why or 'alive'}\n", 503 if why else 200)

    async def readyz(_: Request) -> Response:
        return PlainTextResponse(f"{status.report().state}\n", 200 if status.ready else 503)

    async def health(_: Request) -> Response:
        return JSONResponse(status.as_json())

    async def scrape(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    pages = {"/livez": livez, "/readyz": readyz, "/health": health, "/metrics": scrape}
    return Starlette(routes=[Route(path, page) for path, page in pages.items()])
