"""A worker's Prometheus metrics, in a registry of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sinks.breaker import BreakerState
from sinks.health import State
from sinks.targets.base import RowChanges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from sinks.health import WorkerStatus
    from sinks.targets.base import Batch

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SIZES = (1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
_MS = 1000
_BREAKER = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class _Labelled(TypedDict):
    labelnames: tuple[str, ...]
    registry: CollectorRegistry


class WorkerMetrics:
    """What one sink's worker counts and times; ``registry`` is served under ``/metrics``.

    Args:
        sink: its name, a label of every metric.
    """

    def __init__(self, sink: str) -> None:
        self.registry = CollectorRegistry()
        of: _Labelled = {"labelnames": ("sink",), "registry": self.registry}
        self._records = Counter("cdc_records_total", "Kafka records read and decoded", **of).labels(sink)
        self._retries = Counter("cdc_retries_total", "Tries during outages", **of).labels(sink)
        self._batches = Counter("cdc_batches_total", "Batches committed", **of).labels(sink)
        self._rows = Histogram("cdc_batch_rows", "Rows of a batch", buckets=_SIZES, **of).labels(sink)
        self._decode = Histogram(
            "cdc_decode_seconds", "Time to decode a batch", buckets=_SECONDS, **of
        ).labels(sink)
        self._apply = Histogram(
            "cdc_apply_seconds", "Time to apply and commit a batch", buckets=_SECONDS, **of
        ).labels(sink)
        self._latency = Histogram(
            "cdc_latency_seconds",
            "From the commit at the source to the commit in the target, of the last change per partition",
            buckets=_SECONDS,
            **of,
        ).labels(sink)
        self._source_ms: dict[object, int] = {}

    def watch(self, status: WorkerStatus) -> None:
        """Serve what the status holds, read at each scrape: changes by operation, lag, breaker, state."""
        self.registry.register(_OfStatus(status))

    def decoded(self, records: int, seconds: float) -> None:
        """Note a batch decoded: how many Kafka records, in what time."""
        self._records.inc(records)
        self._decode.observe(seconds)

    def applied(self, batch: Batch, seconds: float, now_ms: int) -> None:
        """Note a batch committed at ``now_ms``, ``seconds`` after its start."""
        rows = sum(of.frame.height for of in batch.segments if isinstance(of, RowChanges))
        self._batches.inc()
        self._rows.observe(rows)
        self._apply.observe(seconds)
        for partition, progress in batch.progress.items():
            before = self._source_ms.get(partition, 0)
            self._source_ms[partition] = max(before, progress.source_ms)
            if progress.source_ms > before:
                self._latency.observe(max(0, now_ms - progress.source_ms) / _MS)

    def retried(self) -> None:
        """Note one more try during an outage."""
        self._retries.inc()


class _OfStatus:
    """Collects what a worker's status says at the moment of the scrape."""

    def __init__(self, status: WorkerStatus) -> None:
        self._status = status

    def describe(self) -> list[Metric]:
        """Return nothing: the names are known, and registering asks for no values."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of one scrape."""
        report = self._status.report()
        sink = report.sink
        changes = CounterMetricFamily(
            "cdc_changes",
            "Changes by operation (c u d r t, tombstone, replay, parked), ever, of the partitions owned",
            labels=("sink", "op"),
        )
        for operation, count in report.counts.items():
            changes.add_metric((sink, operation), count)
        yield changes
        states = GaugeMetricFamily(
            "cdc_worker_state", "1 for the state that the worker is in", labels=("sink", "state")
        )
        for state in State:
            states.add_metric((sink, state), int(state is report.state))
        yield states
        for name, text, value in (
            ("cdc_lag_records", "Changes in Kafka that are not applied", report.lag.records),
            ("cdc_lag_seconds", "For how long the oldest of them has waited", report.lag.seconds),
            ("cdc_breaker_state", "0 closed, 1 half-open, 2 open", _BREAKER[BreakerState(report.breaker)]),
            ("cdc_last_source_timestamp_seconds", "Commit time of the last change", report.source_ms / _MS),
        ):
            gauge = GaugeMetricFamily(name, text, labels=("sink",))
            gauge.add_metric((sink,), value)
            yield gauge
