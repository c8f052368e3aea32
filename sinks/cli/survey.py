"""Ask everything at once: workers, Kafka, targets, Connect, MySQL. What does not answer is a fact too."""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Generic, TypeVar

import httpx
from pydantic import ValidationError

from sinks.connect_api import ConnectApi, ConnectorStatus
from sinks.errors import CdcError, FatalError, OutageError
from sinks.health import Facts, SinkFacts, SourceFacts, WorkerReport
from sinks.kafka.admin import KafkaAdmin
from sinks.mysql.source import SourceState, source_state
from sinks.table_schema import TableId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sinks.change import TopicPartition
    from sinks.config import Config, SinkConfig
    from sinks.kafka.admin import Remaining
    from sinks.targets.base import ParkedKey, Stored, Target

T = TypeVar("T")
_WORKER_SECONDS = 2.0
_ANSWER_SECONDS = 12.0


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A value, or why there is none."""

    value: T | None = None
    error: CdcError | None = None


@dataclass(frozen=True)
class SinkPosition:
    """How far one sink is, by its target and Kafka alone: no worker is asked."""

    stored: Answer[Mapping[TopicPartition, Stored]]
    remaining: Answer[Mapping[TopicPartition, Remaining]]


class Survey:
    """Asks, side by side, and waits for no one for long.

    Args:
        config: where everything is.
        sinks: which sinks are asked about.
        open_target: makes a sink's target.
        kafka: asks the brokers; made from the configuration if not given.
    """

    def __init__(
        self,
        config: Config,
        sinks: Sequence[SinkConfig],
        open_target: Callable[[SinkConfig], Target],
        kafka: KafkaAdmin | None = None,
    ) -> None:
        self._config = config
        self._sinks = sinks
        self._open_target = open_target
        if kafka is None:
            kafka = KafkaAdmin(config.kafka.bootstrap, config.kafka.client_options())
        self._kafka = kafka

    def positions(self) -> dict[str, SinkPosition]:
        """Ask targets and Kafka how far each sink is."""
        partitions = _ask(self._partitions)
        stored = {sink.name: _ask(self._stored, sink) for sink in self._sinks}
        answers = {name: _answer(future, f"sinks.{name}") for name, future in stored.items()}
        known = _answer(partitions, self._config.kafka.bootstrap)
        left = {
            sink.name: _ask(self._remaining, sink, known.value, held)
            for sink in self._sinks
            if known.value is not None and (held := answers[sink.name].value) is not None
        }
        return {
            name: SinkPosition(
                answer,
                _answer(left[name], self._config.kafka.bootstrap)
                if name in left
                else Answer(error=known.error),
            )
            for name, answer in answers.items()
        }

    def facts(self) -> Facts:
        """Ask everything."""
        config = self._config
        workers = {sink.name: _ask(worker_report, sink) for sink in self._sinks}
        connector = _ask(self._connector)
        heartbeat = _ask(self._kafka.last_timestamp, f"__debezium-heartbeat.{config.kafka.topic_prefix}")
        source = _ask(self._source)
        parked = {sink.name: _ask(self._parked, sink) for sink in self._sinks}
        positions = self.positions()
        held = {name: _answer(future, f"sinks.{name}").value or () for name, future in parked.items()}
        state = _answer(source, "mysql")
        connect = _answer(connector, config.connect.url)
        beat = _answer(heartbeat, config.kafka.bootstrap)
        kafka_errors = [beat.error, *(position.remaining.error for position in positions.values())]
        return Facts(
            now_ms=time.time_ns() // 1_000_000,
            sinks=[
                SinkFacts(
                    sink.name,
                    sink.type,
                    sink.worker_url,
                    worker=_answer(workers[sink.name], sink.worker_url).value,
                    stored=positions[sink.name].stored.value,
                    target_error=positions[sink.name].stored.error,
                    remaining=positions[sink.name].remaining.value,
                    parked_keys=len(held[sink.name]),
                    open_letters=sum(key.letters for key in held[sink.name]),
                )
                for sink in self._sinks
            ],
            connector_name=config.connect.connector,
            source=SourceFacts(f"{config.mysql.host}:{config.mysql.port}", state.value, state.error),
            connector=connect.value,
            connect_error=connect.error,
            heartbeat_ms=beat.value,
            kafka_error=next((error for error in kafka_errors if error is not None), None),
        )

    def _partitions(self) -> list[TopicPartition]:
        return self._kafka.partitions(prefix=self._config.kafka.topic_prefix)

    def _stored(self, sink: SinkConfig) -> Mapping[TopicPartition, Stored]:
        """Return what the target holds of the tables that the sink takes."""
        target = self._open_target(sink)
        try:
            target.ping()
            return {
                partition: held for partition, held in target.stored().items() if self._takes(sink, partition)
            }
        finally:
            target.close()

    def _parked(self, sink: SinkConfig) -> Sequence[ParkedKey]:
        target = self._open_target(sink)
        try:
            return target.parked()
        finally:
            target.close()

    def _remaining(
        self, sink: SinkConfig, partitions: Sequence[TopicPartition], stored: Mapping[TopicPartition, Stored]
    ) -> Mapping[TopicPartition, Remaining]:
        return self._kafka.remaining(
            {
                partition: stored[partition].progress.next_offset if partition in stored else 0
                for partition in partitions
                if self._takes(sink, partition)
            }
        )

    def _takes(self, sink: SinkConfig, partition: TopicPartition) -> bool:
        """Tell by the topic's name; good enough to show a lag."""
        table = partition.topic.removeprefix(f"{self._config.kafka.topic_prefix}.")
        return sink.selection.takes(TableId(*table.split(".", 1))) if "." in table else False

    def _connector(self) -> ConnectorStatus | None:
        with ConnectApi(self._config.connect.url) as connect:
            return connect.status(self._config.connect.connector)

    def _source(self) -> SourceState:
        mysql = self._config.mysql
        return source_state(mysql.host, mysql.port, mysql.user, mysql.password.get_secret_value())


def worker_report(sink: SinkConfig) -> WorkerReport | None:
    """Return what the sink's worker says of itself; None when it does not answer, or another one does."""
    try:
        answer = httpx.get(f"{sink.worker_url}/health", timeout=_WORKER_SECONDS)
        report = WorkerReport.model_validate_json(answer.raise_for_status().content)
    except (httpx.HTTPError, ValidationError):
        return None
    return report if report.sink == sink.name else None


def worker_lives(sink: SinkConfig) -> str:
    """Return why the sink's worker does not live; empty if it does."""
    try:
        answer = httpx.get(f"{sink.worker_url}/livez", timeout=_WORKER_SECONDS)
    except httpx.HTTPError as error:
        return f"nothing answers at {sink.worker_url} ({type(error).__name__})"
    return "" if answer.is_success else answer.text.strip()


def _ask(call: Callable[..., T], *arguments: object) -> Future[T]:
    """Call in a thread of its own, one that does not keep the process from ending."""
    future: Future[T] = Future()

    def ask() -> None:
        try:
            future.set_result(call(*arguments))
        except BaseException as error:  # noqa: BLE001 (handed to the one who waits)
            future.set_exception(error)

    Thread(target=ask, daemon=True).start()
    return future


def _answer(future: Future[T], where: str) -> Answer[T]:
    try:
        return Answer(future.result(_ANSWER_SECONDS))
    except FutureTimeoutError:
        return Answer(error=OutageError(f"no answer within {_ANSWER_SECONDS:.0f} s", where=where))
    except CdcError as error:
        return Answer(error=error)
    except Exception as error:  # noqa: BLE001 (health reports what it finds; a defect in one driver too)
        return Answer(error=FatalError(f"unexpected {type(error).__name__}", where=where))
