"""Apicurio registry: the schemas, kept in Kafka."""

from stack.process import Launch
from stack.servers.base import HOST, Server, http_ok
from stack.servers.jvm import command

QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
CONFLUENT_API = "/apis/ccompat/v7"


class Registry(Server):
    """The schema registry."""

    name = "registry"
    needs = ("kafka",)
    bundles = ("registry",)
    listeners = {"registry": 8081, "registry-management": 9000}  # noqa: RUF012 - a constant of the class

    def launch(self) -> Launch:
        """Run it with its storage in Kafka."""
        settings = {
            "quarkus.http.host": HOST,
            "quarkus.http.port": str(self.port()),
            "quarkus.management.host": HOST,
            "quarkus.management.port": str(self.port("registry-management")),
            "apicurio.storage.kind": "kafkasql",
            "apicurio.kafkasql.bootstrap.servers": self.context.address("kafka"),
            # At its start it waits twice this long for a snapshot that we never make.
            "apicurio.kafkasql.consumer.poll.timeout": "500",
        }
        arguments = [f"-D{key}={value}" for key, value in settings.items()]
        jar = self.bundle("registry") / "quarkus-run.jar"
        argv = command(self.context, self.name, "384m", [*QUICK_START, *arguments, "-jar", str(jar)])
        return Launch(argv, cwd=self.folder)

    def answers(self) -> bool:
        """Tell whether it serves schemas."""
        return http_ok(f"{self.context.url('registry')}{CONFLUENT_API}/subjects")
