from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sinks.change import Progress, TopicPartition
from sinks.cli.survey import Survey
from sinks.config import Config
from sinks.errors import OutageError
from sinks.health import WorkerStatus, assess
from sinks.kafka.admin import KafkaAdmin, Remaining
from sinks.metrics import WorkerMetrics
from sinks.targets.base import Batch, Claim
from sinks.targets.memory import MemoryTarget
from sinks.web import create_app, serve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sinks.config import SinkConfig
    from sinks.targets.base import Target

ORDERS = TopicPartition("cdc.shop.orders", 0)
HEARTBEAT = TopicPartition("cdc.debezium.heartbeat", 0)
NEW = TopicPartition("cdc.crm.people", 0)


class FakeKafka(KafkaAdmin):
    asked: Mapping[TopicPartition, int]

    def __init__(self) -> None:
        pass

    def partitions(self, *, prefix: str) -> list[TopicPartition]:
        assert prefix == "cdc"
        return [ORDERS, HEARTBEAT, NEW]

    def remaining(self, partitions: Mapping[TopicPartition, int]) -> dict[TopicPartition, Remaining]:
        self.asked = partitions
        return {partition: Remaining(20 - offset, 20) for partition, offset in partitions.items()}

    def last_timestamp(self, topic: str) -> int | None:
        assert topic == "__debezium-heartbeat.cdc"
        return 1


def config(http: str) -> Config:
    return Config.model_validate(
        {
            "connect": {"url": "http://127.0.0.1:9"},
            "mysql": {"port": 9},
            "sinks": {"replica": {"type": "postgres", "dsn": "postgresql://h/x", "http": http}},
        }
    )


@pytest.fixture
def target() -> MemoryTarget:
    target = MemoryTarget("replica")
    target.claim([Claim(ORDERS, "t1", 1), Claim(HEARTBEAT, "t2", 1)])
    progress = {ORDERS: Progress(15, counts={"c": 9}), HEARTBEAT: Progress(3, counts={"u": 3})}
    target.apply(Batch((), progress), lambda _: None)
    return target


def survey(of: Config, target: MemoryTarget | None) -> tuple[Survey, FakeKafka]:
    def open_target(_: SinkConfig) -> Target:
        if target is None:
            raise OutageError("no answer", where="h")
        return target

    kafka = FakeKafka()
    return Survey(of, list(of.sinks.values()), open_target, kafka), kafka


def test_what_does_not_answer_is_a_fact_and_new_topics_count_from_the_start(target: MemoryTarget) -> None:
    of = config("127.0.0.1:9")
    asking, kafka = survey(of, target)
    report = assess(asking.facts(), of.health)
    assert kafka.asked == {ORDERS: 15, NEW: 0}
    sink = report.sinks[0]
    assert (sink.state, sink.counts, sink.lag and sink.lag.records) == ("stopped", {"c": 9}, 25)
    assert not report.connector.reachable
    assert not report.source.reachable
    assert report.kafka_reachable
    assert report.exit_code == 1


def test_a_live_worker_with_its_target_down() -> None:
    status = WorkerStatus("replica")
    server = serve(create_app(status, WorkerMetrics("replica")), "127.0.0.1", 0)
    try:
        of = config(server.url.removeprefix("http://"))
        report = assess(survey(of, None)[0].facts(), of.health)
    finally:
        server.close()
    sink = report.sinks[0]
    assert (sink.state, sink.target_reachable, report.kafka_reachable) == ("starting", False, True)


def test_another_sink_s_worker_at_the_address_is_not_ours(target: MemoryTarget) -> None:
    server = serve(create_app(WorkerStatus("search"), WorkerMetrics("search")), "127.0.0.1", 0)
    try:
        of = config(server.url.removeprefix("http://"))
        report = assess(survey(of, target)[0].facts(), of.health)
    finally:
        server.close()
    assert report.sinks[0].state == "stopped"
