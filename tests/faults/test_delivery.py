"""What makes records come again, late or from elsewhere changes nothing in either target."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck
import psycopg2
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic  # type: ignore[attr-defined]

from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.faults.process import Sinks
    from tests.faults.scene import Scene

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

TABLES = ("people", "events", "pairs", "notes")


@pytest.fixture
def kafka(endpoints: dict[str, Any]) -> AdminClient:
    return AdminClient({"bootstrap.servers": endpoints["kafka"]["bootstrap"]})


def written(scene: Scene) -> tuple[Any, ...]:
    """Return what changes with any write: each row's transaction, each document's sequence number."""
    found: list[Any] = []
    with scene.stores.postgres.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT xmin::text, ctid::text FROM {scene.database}.{table} ORDER BY ctid")
            found.append(cursor.fetchall())
    search = {"size": 10_000, "seq_no_primary_term": True, "version": True, "sort": ["_doc"]}
    for table in TABLES[:-1]:
        index = f"{scene.database}.{table}"
        scene.stores.elasticsearch.post(f"/{index}/_refresh")
        answer = scene.stores.elasticsearch.post(f"/{index}/_search", json=search).json()
        found.append(sorted((h["_id"], h["_version"], h["_seq_no"]) for h in answer["hits"]["hits"]))
    return tuple(found)


def drained(sinks: Sinks) -> bool:
    return all(
        report["state"] == "idle" and report["partitions"] and all(p["drained"] for p in report["partitions"])
        for report in (sinks.report(0), sinks.report(1))
    )


@pytest.mark.parametrize("fault", ["rewound", pytest.param("deleted", marks=pytest.mark.long)])
def test_a_group_that_lost_its_offsets(scene: Scene, kafka: AdminClient, fault: str) -> None:
    sinks = scene.sinks()
    sinks.start()
    scene.write(300)
    scene.wait_equal()
    wait_until(lambda: drained(sinks), 60)
    assert sinks.stop()[0] == 0
    before = written(scene)
    groups = [f"cdc-{scene.name}-pg", f"cdc-{scene.name}-es"]
    for group in groups:
        if fault == "rewound":
            asked = [ck.ConsumerGroupTopicPartitions(group)]
            (held,) = kafka.list_consumer_group_offsets(asked).values()
            parts = [ck.TopicPartition(p.topic, p.partition, 0) for p in held.result().topic_partitions]
            assert parts
            wanted = [ck.ConsumerGroupTopicPartitions(group, parts)]
            (altered,) = kafka.alter_consumer_group_offsets(wanted).values()
            altered.result()
        else:
            kafka.delete_consumer_groups([group])[group].result()
    again = scene.sinks()
    again.start()
    wait_until(lambda: drained(again), 60)
    assert written(scene) == before
    scene.write(100)
    scene.wait_equal()


def test_a_topic_is_deleted_and_made_again(scene: Scene, kafka: AdminClient) -> None:
    sinks = scene.sinks()
    sinks.start()
    scene.write(300)
    scene.wait_equal()
    topic = f"cdc.{scene.database}.pairs"
    kafka.delete_topics([topic])[topic].result()

    def made() -> bool:
        try:
            kafka.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result()
        except ck.KafkaException as error:  # the deletion is still under way
            return bool(error.args[0].code() != ck.KafkaError.TOPIC_ALREADY_EXISTS)
        return True

    wait_until(made, 30)
    scene.write(600, seed=2)
    scene.wait_equal()
    assert sinks.parked() == 0


def test_partitions_are_added(scene: Scene, kafka: AdminClient) -> None:
    """A key may move to another partition, where offsets begin anew."""
    sinks = scene.sinks()
    sinks.start()
    scene.write(300)
    scene.wait_equal()
    for table in ("people", "events", "pairs"):
        topic = f"cdc.{scene.database}.{table}"
        kafka.create_partitions([NewPartitions(topic, 3)])[topic].result()
    scene.write(1000, seed=2)
    scene.wait_equal()
    assert sinks.parked() == 0


@pytest.mark.long
def test_the_connector_sends_again(scene: Scene) -> None:
    """Killed under traffic, several times: what it sends twice, or had not finished, changes nothing."""
    sinks = scene.sinks()
    sinks.start()
    sessions = scene.start_writing(6000)
    for _ in range(2):
        scene.stack.kill("connect")
        scene.stack.start("connect")
    for session in sessions:
        session.join()
    scene.wait_equal(180)
    assert sinks.parked() == 0


@pytest.mark.parametrize(
    "locks",
    [pytest.param(False, id="idle", marks=pytest.mark.long), pytest.param(True, id="with row locks")],
)
def test_a_worker_that_slept_through_a_rebalance(
    scene: Scene, endpoints: dict[str, Any], *, locks: bool
) -> None:
    """The first is frozen, at times in a transaction; the second takes over; the first wakes up."""
    first = scene.sinks()
    first.start()
    scene.write(300)
    scene.wait_equal()
    stranger = psycopg2.connect(endpoints["postgres"]["dsn"])
    if locks:
        with stranger.cursor() as cursor:
            cursor.execute(f"SELECT FROM {scene.database}.people FOR UPDATE")
        scene.stores.execute(f"UPDATE {scene.database}.people SET level = 77")
        wait_until(lambda: waits_for_a_lock(scene), 30, what="the first is in its transaction")
    first.signal(signal.SIGSTOP)
    stranger.close()
    second = scene.sinks()
    second.start(wait=False)
    scene.write(500, seed=2)
    scene.wait_equal()
    first.signal(signal.SIGCONT)
    scene.write(500, seed=3)
    scene.wait_equal()
    for sinks in (first, second):
        wait_until(lambda sinks=sinks: sinks.states() <= {"running", "idle"}, 60)  # type: ignore[misc]
        assert sinks.parked() == 0
    assert first.stop()[0] == 0
    scene.write(100, seed=4)
    scene.wait_equal()


def waits_for_a_lock(scene: Scene) -> bool:
    with scene.stores.postgres.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'",
            (f"cdc-sink {scene.name}-pg",),
        )
        return bool((cursor.fetchone() or (0,))[0])
