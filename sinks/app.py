"""The composition root: from a configuration to workers that run."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from sinks.barriers import Barriers
from sinks.config import HttpSink, PostgresSink
from sinks.connect_api import ConnectApi
from sinks.envelope import ChangeReader, Routed
from sinks.errors import CdcError
from sinks.health import WorkerStatus
from sinks.kafka.consumer import PartitionConsumer
from sinks.kafka.dead_letters import DeadLetters
from sinks.kafka.heartbeat import Heartbeats
from sinks.kafka.letters import LetterReader
from sinks.kafka.schema_log import SchemaLog
from sinks.kafka.topics import Topics
from sinks.metrics import WorkerMetrics
from sinks.mysql.source import source_state
from sinks.redelivery import Redelivery
from sinks.retry import Backoff
from sinks.supervisor import Supervisor
from sinks.targets.elasticsearch.options import ElasticsearchOptions
from sinks.targets.elasticsearch.target import ElasticsearchTarget
from sinks.targets.http import HttpTarget
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
    from sinks.connect_api import ConnectorStatus
    from sinks.selection import Selection
    from sinks.table_schema import TableSchema
    from sinks.targets.base import Target
    from sinks.web import Server
    from sinks.wire.base import Wire

log = logging.getLogger(__name__)

# Of the time to stop, what the workers get to finish; the rest is for leaving.
_DRAIN_SHARE = 0.8

_RESTARTS = Backoff(first=10.0, ceiling=300.0)


def open_target(sink: SinkConfig) -> Target:
    """Make the target of a sink; connects when it is first used."""
    if isinstance(sink, PostgresSink):
        return PostgresTarget(sink.name, sink.dsn.get_secret_value(), state_schema=sink.state_schema)
    if isinstance(sink, HttpSink):
        return HttpTarget(
            sink.name,
            sink.url,
            state=sink.state,
            connections=sink.connections,
            timeout_seconds=sink.timeout_seconds,
            token=sink.token.get_secret_value(),
        )
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


def open_reader(config: Config, sink: SinkConfig) -> ChangeReader:
    """Make what turns records into the changes that a sink takes."""
    return ChangeReader(open_wire(config), _Router(sink.selection))


def open_letters(config: Config, sink: SinkConfig) -> LetterReader:
    """Make the reader of a sink's dead letters."""
    kafka = config.kafka
    return LetterReader(
        kafka.bootstrap, prefix=kafka.topic_prefix, sink=sink.name, extra=kafka.client_options()
    )


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
    target = open_target(sink)
    reader = open_reader(config, sink)
    return Worker(
        consumer=consumer,
        topics=topics,
        target=target,
        reader=reader,
        barriers=Barriers(
            SchemaLog(kafka.bootstrap, topics, open_wire(config), prefix=kafka.topic_prefix, extra=options),
            reader.stamps,
            _Router(sink.selection),
        ),
        redelivery=Redelivery(target, open_letters(config, sink), reader),
        dead_letters=DeadLetters(
            kafka.bootstrap, topics, prefix=kafka.topic_prefix, sink=sink.name, extra=options
        ),
        status=status,
        metrics=metrics,
        breaker=config.worker.breaker(),
        backoff=config.worker.backoff(),
        limits=Limits(
            config.worker.batch_records,
            int(config.worker.batch_bytes),
            config.worker.shutdown_seconds * _DRAIN_SHARE,
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
    status: WorkerStatus
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
        running.append(_Running(name, open_worker(config, sink, status, metrics), server, status))
        log.info("sink %s answers at %s", name, sink.worker_url, extra={"action": "started"})
    threads = [threading.Thread(target=one.run, name=f"sink-{one.sink}") for one in running]
    for thread in threads:
        thread.start()
    watching = _supervise(config, running[0].status, stopping) if config.connect.restart else None
    stopping.wait()
    deadline = time.monotonic() + config.worker.shutdown_seconds * _DRAIN_SHARE
    for one in running:
        one.worker.stop()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    code = 1 if any(one.error for one in running) else 0
    if any(thread.is_alive() for thread in threads):
        log.warning("a target or broker does not answer: leaving without it", extra={"action": "stopped"})
        _leave(code)
    if watching is not None:
        watching.join(max(0.0, deadline - time.monotonic()))
    for one in running:
        one.server.close()
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        _leave(code)  # a call to a target that hangs; the interpreter would wait for it
    return code


def _supervise(config: Config, shown: WorkerStatus, stopping: threading.Event) -> threading.Thread:
    """Watch the connector from a thread of its own."""
    connect, mysql, kafka = config.connect, config.mysql, config.kafka

    def status() -> ConnectorStatus | None:
        with ConnectApi(connect.url) as api:
            return api.status(connect.connector)

    def restart(only_failed: bool) -> None:
        with ConnectApi(connect.url) as api:
            api.restart(connect.connector, only_failed=only_failed)

    def source_answers() -> bool:
        with suppress(CdcError):
            return bool(source_state(mysql.host, mysql.port, mysql.user, mysql.password.get_secret_value()))
        return False

    ears = Heartbeats(
        kafka.bootstrap,
        f"__debezium-heartbeat.{kafka.topic_prefix}",
        f"cdc-watch-{connect.connector}",
        extra=kafka.client_options(),
    )
    supervisor = Supervisor(
        ears=ears,
        status=status,
        restart=restart,
        source_answers=source_answers,
        shown=shown,
        silent_seconds=config.health.heartbeat_seconds,
        backoff=_RESTARTS,
        random=random.random,
    )
    thread = threading.Thread(target=supervisor.run, args=(stopping,), name="supervisor", daemon=True)
    thread.start()
    return thread


def _leave(code: int) -> NoReturn:
    """End the process at once. Safe at any moment: what is not committed is read again."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
