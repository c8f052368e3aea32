"""Kafka Connect's worker."""

from pathlib import Path

from stack.files import write_whole
from stack.layout import REPO
from stack.process import Launch
from stack.servers.base import HOST, Server, http_ok
from stack.servers.jvm import command, jars

WORKER = REPO / "connect" / "worker.properties"


class Connect(Server):
    """The Connect worker."""

    name = "connect"
    needs = ("kafka",)
    bundles = ("kafka", "connect-plugins")
    listeners = {"connect": 8083}  # noqa: RUF012 - a constant of the class

    def prepare(self) -> None:
        """Write the worker's configuration: the shared file, and what is particular to this instance."""
        super().prepare()
        own = [
            f"listeners=http://{HOST}:{self.port()}",
            f"rest.advertised.host.name={HOST}",
            f"rest.advertised.port={self.port()}",
            f"plugin.path={self.bundle('connect-plugins')}",
        ]
        write_whole(self._config, WORKER.read_text() + "\n# This instance\n" + "\n".join(own) + "\n")

    def launch(self) -> Launch:
        """Run the worker, with addresses and the capture user's password in its environment."""
        libraries = jars(self.bundle("kafka") / "lib")
        argv = command(self.context, self.name, "768m", ["-cp", libraries])
        argv += ["org.apache.kafka.connect.cli.ConnectDistributed", str(self._config)]
        return Launch(argv, env=self.variables(), configs=[self._config])

    def variables(self) -> dict[str, str]:
        """Return what worker.properties and the connectors look up."""
        return {
            "CDC_KAFKA_BOOTSTRAP": self.context.address("kafka"),
            "CDC_REGISTRY": self.context.url("registry"),
            "CDC_MYSQL_HOST": HOST,
            "CDC_MYSQL_PORT": str(self.context.state.port("mysql")),
            "CDC_MYSQL_CAPTURE_PASSWORD": self.context.state.password("mysql-capture"),
        }

    def answers(self) -> bool:
        """Tell whether the REST API answers and its group is formed."""
        return http_ok(f"{self.context.url('connect')}/connectors")

    @property
    def _config(self) -> Path:
        return self.folder / "worker.properties"
