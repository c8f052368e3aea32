"""The shape of the configuration, its defaults and its checks."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    StringConstraints,
    model_validator,
)

from sinks.breaker import Breaker
from sinks.health import Thresholds
from sinks.retry import Backoff
from sinks.selection import Selection, check_routes, is_exact, split_column, split_table

_MAX_PORT = 65535
_MIB = 1 << 20


def _from_text(value: object) -> object:
    """Read a list or table given as text, as the environment does: JSON, or words between commas."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith(("[", "{")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"is not valid JSON: {error.msg} at column {error.colno}") from None
    return [part.strip() for part in text.split(",") if part.strip()]


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > _MAX_PORT:
        raise ValueError("must be an address of the form host:port")
    return value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL that starts with http:// or https://")
    return value.rstrip("/")


def _bootstrap(value: str) -> str:
    for address in value.split(","):
        _address(address.strip())
    return value


def _table_pattern(value: str) -> str:
    split_table(value)
    return value


def _column_pattern(value: str) -> str:
    split_column(value)
    return value


def _routes(value: dict[str, str]) -> dict[str, str]:
    if problems := check_routes(value):
        raise ValueError("; ".join(problems))
    return value


def _renames(value: dict[str, str]) -> dict[str, str]:
    seen: dict[tuple[str, str, str], str] = {}
    for source, name in value.items():
        database, table, _ = split_column(source)
        if not name:
            raise ValueError(f"{source!r} is given an empty name")
        if is_exact(source) and (database, table, name) in seen:
            raise ValueError(f"{seen[database, table, name]!r} and {source!r} are both renamed to {name!r}")
        seen[database, table, name] = source
    return value


Address = Annotated[str, AfterValidator(_address)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Bootstrap = Annotated[str, AfterValidator(_bootstrap)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
TablePatterns = Annotated[
    tuple[Annotated[str, AfterValidator(_table_pattern)], ...], BeforeValidator(_from_text)
]
ColumnPatterns = Annotated[
    tuple[Annotated[str, AfterValidator(_column_pattern)], ...], BeforeValidator(_from_text)
]
Routes = Annotated[dict[str, str], BeforeValidator(_from_text), AfterValidator(_routes)]
Renames = Annotated[dict[str, str], BeforeValidator(_from_text), AfterValidator(_renames)]
Options = Annotated[dict[str, SecretStr], BeforeValidator(_from_text)]


class Section(BaseModel):
    """A part of the configuration: frozen, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Kafka(Section):
    """``[kafka]``: the brokers, and the prefix of Debezium's topics."""

    bootstrap: Bootstrap = "127.0.0.1:9092"
    topic_prefix: Name = "cdc"
    options: Options = Field(default_factory=dict)

    def client_options(self) -> dict[str, str | int | bool]:
        """Return the options for librdkafka in the clear (security.protocol, sasl.password and so on)."""
        return {name: value.get_secret_value() for name, value in self.options.items()}


class Service(Section):
    """A service known by its URL."""

    url: HttpUrl


class Connect(Service):
    """``[connect]``: Kafka Connect and the connector that captures MySQL."""

    url: HttpUrl = "http://127.0.0.1:8083"
    connector: Name = "mysql-source"
    restart: bool = True


class Registry(Service):
    """``[registry]``: the schema registry, by the base of its Confluent-compatible API."""

    url: HttpUrl = "http://127.0.0.1:8080/apis/ccompat/v7"


class Mysql(Section):
    """``[mysql]``: the source, as health and verify reach it."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=_MAX_PORT)] = 3306
    user: Annotated[str, Field(min_length=1)] = "cdc"
    password: SecretStr = SecretStr("")


class Worker(Section):
    """``[worker]``: how a sink worker batches, retries and stops."""

    batch_records: PositiveInt = 20_000
    batch_bytes: Annotated[ByteSize, Field(gt=0)] = ByteSize(16 * _MIB)
    queue_bytes: Annotated[ByteSize, Field(gt=0)] = ByteSize(64 * _MIB)
    shutdown_seconds: PositiveFloat = 10.0
    wire: Literal["avro", "json"] = "avro"
    retry_first_seconds: PositiveFloat = 0.5
    retry_ceiling_seconds: PositiveFloat = 30.0
    breaker_failures: PositiveInt = 5
    breaker_open_seconds: NonNegativeFloat = 30.0

    def backoff(self) -> Backoff:
        """Return the delays between tries during an outage."""
        return Backoff(first=self.retry_first_seconds, ceiling=self.retry_ceiling_seconds)

    def breaker(self) -> Breaker:
        """Return a new, closed circuit breaker."""
        return Breaker(self.breaker_failures, self.breaker_open_seconds)

    @model_validator(mode="after")
    def _batches_fit_the_queue(self) -> Self:
        if self.batch_bytes > self.queue_bytes:
            raise ValueError("batch_bytes is larger than queue_bytes: a batch would never fill")
        return self


class Outbox(Section):
    """``[outbox]``: the polling relay of the transactional outbox."""

    table: Annotated[str, Field(pattern=r"^[A-Za-z0-9_$]+\.[A-Za-z0-9_$]+$")] = "shop.outbox"
    mode: Literal["status", "last-id"] = "status"
    topic_prefix: Name = "events"
    partitions: PositiveInt = 3
    batch_records: PositiveInt = 2000
    poll_seconds: PositiveFloat = 0.1
    max_failures: PositiveInt = 10
    retry_first_seconds: PositiveFloat = 1.0
    retry_ceiling_seconds: PositiveFloat = 300.0
    keep_hours: NonNegativeFloat = 24.0
    lag_seconds: PositiveFloat = 60.0
    max_message_bytes: Annotated[ByteSize, Field(gt=0)] = ByteSize(1_000_000)


class Sink(Section):
    """``[sinks.NAME]``: what every sink has."""

    name: Annotated[str, Field(exclude=True)] = ""
    include: TablePatterns = ("*",)
    exclude: TablePatterns = ("debezium.*",)
    include_columns: ColumnPatterns = ()
    exclude_columns: ColumnPatterns = ()
    rename_columns: Renames = Field(default_factory=dict)
    routes: Routes = Field(default_factory=dict)
    http: Address = "127.0.0.1:8181"

    @cached_property
    def selection(self) -> Selection:
        """What this sink takes, and under which names."""
        return Selection(
            include=self.include,
            exclude=self.exclude,
            include_columns=self.include_columns,
            exclude_columns=self.exclude_columns,
            rename_columns=self.rename_columns,
            routes=self.routes,
        )

    @property
    def bind(self) -> tuple[str, int]:
        """Host and port that the worker's HTTP endpoint listens on."""
        host, _, port = self.http.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def worker_url(self) -> str:
        """Where this machine finds the worker's HTTP endpoint."""
        host, port = self.bind
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (a bind address is told apart)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class PostgresSink(Sink):
    """A sink of ``type = "postgres"``."""

    type: Literal["postgres"]
    dsn: SecretStr = Field(min_length=1)
    state_schema: Annotated[str, Field(min_length=1, max_length=63)] = "cdc"


class ElasticsearchSink(Sink):
    """A sink of ``type = "elasticsearch"``."""

    type: Literal["elasticsearch"]
    url: HttpUrl
    user: str = ""
    password: SecretStr = SecretStr("")
    api_key: SecretStr = SecretStr("")
    ca_file: str = ""
    connections: Annotated[int, Field(ge=1, le=64)] = 2

    @model_validator(mode="after")
    def _one_way_to_log_in(self) -> Self:
        if urlsplit(self.url).username is not None:
            raise ValueError("url holds a user or password: put them under user and password")
        if self.user and self.api_key.get_secret_value():
            raise ValueError("user and api_key are both given: keep one")
        return self


class HttpSink(Sink):
    """A sink of ``type = "http"``: one request per change."""

    type: Literal["http"]
    url: HttpUrl
    state: Annotated[str, Field(min_length=1)]
    token: SecretStr = SecretStr("")
    connections: Annotated[int, Field(ge=1, le=64)] = 4
    timeout_seconds: PositiveFloat = 10.0


SinkConfig = PostgresSink | ElasticsearchSink | HttpSink


class Config(Section):
    """The whole configuration."""

    kafka: Kafka = Field(default_factory=Kafka)
    registry: Registry = Field(default_factory=Registry)
    connect: Connect = Field(default_factory=Connect)
    mysql: Mysql = Field(default_factory=Mysql)
    worker: Worker = Field(default_factory=Worker)
    health: Thresholds = Field(default_factory=Thresholds)
    outbox: Outbox = Field(default_factory=Outbox)
    sinks: dict[Name, Annotated[SinkConfig, Field(discriminator="type")]] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _name_the_sinks(cls, data: Any) -> Any:  # noqa: ANN401 (pydantic hands in anything)
        if not isinstance(data, dict) or not isinstance(data.get("sinks"), dict):
            return data
        named = {
            name: {**sink, "name": name} if isinstance(sink, dict) else sink
            for name, sink in data["sinks"].items()
        }
        return {**data, "sinks": named}


def is_secret(path: tuple[str, ...]) -> bool:
    """Tell whether the value at ``path`` is a secret, whatever the type of its sink."""
    return path[-1] in {"password", "dsn", "api_key", "token"} or path[:2] == ("kafka", "options")
