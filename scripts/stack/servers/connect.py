"""Kafka Connect, with Debezium's connector registered and running."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from stack.errors import StackError
from stack.files import write_whole
from stack.layout import REPO
from stack.process import Launch
from stack.servers.base import HOST, Server, http_ok
from stack.servers.jvm import command, jars

WORKER = REPO / "connect" / "worker.properties"
CONNECTORS = REPO / "connect" / "connectors"
RUNNING_SECONDS = 90


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


class Connectors:
    """Registers the connectors of connect/connectors and waits until they run."""

    def __init__(self, url: str) -> None:
        self._url = url

    def register(self) -> None:
        """Put every connector's configuration (a no-op where it is the same) and restart what failed."""
        for path in sorted(CONNECTORS.glob("*.json")):
            definition = json.loads(path.read_text())
            name = definition["name"]
            if self._ask("GET", f"/connectors/{name}/config") != {**definition["config"], "name": name}:
                self._ask("PUT", f"/connectors/{name}/config", definition["config"])
            self._wait(name)

    def _wait(self, name: str) -> None:
        deadline = time.monotonic() + RUNNING_SECONDS
        restarted = False
        while True:
            status = self._ask("GET", f"/connectors/{name}/status") or {}
            parts = [status.get("connector", {}), *status.get("tasks", [])]
            states = [part.get("state", "absent") for part in parts]
            if len(states) > 1 and set(states) == {"RUNNING"}:
                return
            failed = [part for part in parts if part.get("state") == "FAILED"]
            if failed and not restarted:
                restarted = True
                self._ask("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true")
            elif time.monotonic() > deadline:
                trace = failed[0].get("trace", "") if failed else ""
                why = trace.partition("\n")[0] or f"its parts are {', '.join(states)}"
                raise StackError(f"connector {name} does not run: {why}", "connect.log has the details.")
            time.sleep(0.2)

    def _ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - an address of our own
            self._url + path, data, {"Content-Type": "application/json"}, method=method
        )
        deadline = time.monotonic() + RUNNING_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
                    return json.loads(answer.read() or "null")
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
                if error.code == 404:  # noqa: PLR2004 - not found
                    return None
                if error.code not in {409, 500, 503} or time.monotonic() > deadline:
                    raise StackError(
                        f"Connect refused {method} {path}: {said}", "Mend the configuration."
                    ) from error
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"Connect does not answer {path}: {error}", "connect.log has the reason."
                    ) from error
            time.sleep(0.5)
