"""Kafka: one KRaft node, broker and controller in one process."""

import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stack.files import write_whole
from stack.process import Launch, run
from stack.servers.base import Server
from stack.servers.jvm import command, jars

SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=PLAINTEXT://{broker},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
message.max.bytes=41943040
replica.fetch.max.bytes=41943040
log.segment.bytes=268435456
log.cleaner.dedupe.buffer.size=16777216
"""


class Kafka(Server):
    """The broker."""

    name = "kafka"
    bundles = ("kafka",)
    listeners = {"kafka": 9092, "kafka-controller": 9093}  # noqa: RUF012 - a constant of the class

    def prepare(self) -> None:
        """Write the configuration, and format the storage at the first start."""
        super().prepare()
        broker, controller = (self.context.address(name) for name in self.listeners)
        data = self.folder / "data"
        write_whole(self._config, SETTINGS.format(broker=broker, controller=controller, data=data))
        if not (data / "meta.properties").exists():
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._config)]
            run([*self._java("128m"), *tool], log=self.context.layout.log(self.name))

    def launch(self) -> Launch:
        """Run broker and controller."""
        return Launch([*self._java("512m"), "kafka.Kafka", str(self._config)], configs=[self._config])

    def answers(self) -> bool:
        """Tell whether the admin API answers."""
        try:
            admin = AdminClient({"bootstrap.servers": self.context.address("kafka"), "log_level": 0})
            return bool(admin.list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, heap: str) -> list[str]:
        return command(self.context, self.name, heap, ["-cp", jars(self.bundle("kafka") / "lib")])
