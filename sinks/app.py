"""The composition root: from a configuration to workers that run."""

from __future__ import annotations

import logging
import random
import re
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sinks.config import PostgresSink
from sinks.envelope import ChangeReader, Routed
from sinks.errors import CdcError
from sinks.health import WorkerStatus
from sinks.kafka.consumer import PartitionConsumer
from sinks.kafka.dead_letters import DeadLetters
from sinks.kafka.topics import Topics
from sinks.metrics import WorkerMetrics
from sinks.targets.elasticsearch.options import ElasticsearchOptions
from sinks.targets.elasticsearch.target import ElasticsearchTarget
from sinks.targets.postgres.target import PostgresTarget
from sinks.web import create_app, serve
from sinks.wire.confluent_avro import ConfluentAvro
from sinks.wire.connect_json import ConnectJson
from sinks.wire.registry import SchemaRegistry
from sinks.worker import Limits, Worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from sinks.config import Config, SinkConfig
    from sinks.selection import Selection
    from sinks.table_schema import TableSchema
    from sinks.targets.base import Target
    from sinks.web import Server
    from sinks.wire.base import Wire

log = logging.getLogger(__name__)


def open_target(sink: SinkConfig) -> Target:
    """Make the target of a sink; connects when it is first used."""
    if isinstance(sink, PostgresSink):
        return PostgresTarget(sink.name, sink.dsn.get_secret_value(), state_schema=sink.state_schema)
    options = ElasticsearchOptions(
        connections=sink.connections,
        api_key=sink.api_key.get_secret_value(),
        username=sink.user,
        password=sink.password.get_secret_value(),
        ca_certs=sink.ca_file,
    )
    return ElasticsearchTarget(sink.name, sink.url, options=options)


def open_wire(config: Config) -> Wire:
    """Make the reader of the configured wire format."""
    if config.worker.wire == "json":
        return ConnectJson()
    return ConfluentAvro(SchemaRegistry(config.registry.url).schema_text)


def topic_pattern(prefix: str) -> str:
    """Return the regular expression of the captured tables' topics: ``prefix.database.table``."""
    return rf"^{re.escape(prefix)}\.[^.]+\..+$"


def open_worker(config: Config, sink: SinkConfig, status: WorkerStatus, metrics: WorkerMetrics) -> Worker:
    """Put one sink's worker together."""
    kafka = config.kafka
    options = kafka.client_options()
    topics = Topics(kafka.bootstrap, options)
    consumer = PartitionConsumer(
        kafka.bootstrap,
        f"cdc-{sink.name}",
        topic_pattern(kafka.topic_prefix),
        queue_bytes=config.worker.queue_bytes,
        extra=options,
    )
    return Worker(
        consumer=consumer,
        topics=topics,
        target=open_target(sink),
        reader=ChangeReader(open_wire(config), _Router(sink.selection)),
        dead_letters=DeadLetters(
            kafka.bootstrap, topics, prefix=kafka.topic_prefix, sink=sink.name, extra=options
        ),
        status=status,
        metrics=metrics,
        breaker=config.worker.breaker(),
        backoff=config.worker.backoff(),
        limits=Limits(
            config.worker.batch_records, int(config.worker.batch_bytes), config.worker.shutdown_seconds
        ),
        random=random.random,
    )


class _Router:
    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def __call__(self, schema: TableSchema) -> Routed | None:
        taken = self._selection.applied(schema)
        return None if taken is None else Routed(*taken)


@dataclass
class _Running:
    sink: str
    worker: Worker
    server: Server
    error: CdcError | None = None

    def run(self) -> None:
        try:
            self.worker.run()
        except CdcError as error:
            self.error = error


def run(config: Config, sink_names: Sequence[str]) -> int:
    """Run workers in the foreground until SIGTERM or SIGINT, then drain them.

    A worker that fails leaves its group, so that another may take over, and its endpoint goes on telling why.

    Args:
        config: the whole configuration.
        sink_names: which sinks; all if empty.

    Returns:
        Exit code: 0 when all drained, 1 when one failed.
    """
    stopping = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        log.info("%s: draining", signal.Signals(number).name, extra={"action": "stopping"})
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    running: list[_Running] = []
    for name in sink_names or config.sinks:
        sink = config.sinks[name]
        status, metrics = WorkerStatus(name), WorkerMetrics(name)
        server = serve(create_app(status, metrics), *sink.bind)
        running.append(_Running(name, open_worker(config, sink, status, metrics), server))
        log.info("sink %s answers at %s", name, sink.worker_url, extra={"action": "started"})
    threads = [threading.Thread(target=one.run, name=f"sink-{one.sink}") for one in running]
    for thread in threads:
        thread.start()
    stopping.wait()
    for one in running:
        one.worker.stop()
    for thread in threads:
        thread.join()
    for one in running:
        one.server.close()
    return 1 if any(one.error for one in running) else 0
