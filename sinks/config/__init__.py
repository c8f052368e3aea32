"""The configuration: one frozen object, built once at the entry point and handed on."""

from sinks.config.load import Loaded, load
from sinks.config.model import (
    Config,
    ElasticsearchSink,
    HttpSink,
    Kafka,
    Mysql,
    PostgresSink,
    Service,
    SinkConfig,
    Worker,
)
from sinks.config.problems import InvalidConfigError, Problem

__all__ = [
    "Config",
    "ElasticsearchSink",
    "HttpSink",
    "InvalidConfigError",
    "Kafka",
    "Loaded",
    "Mysql",
    "PostgresSink",
    "Problem",
    "Service",
    "SinkConfig",
    "Worker",
    "load",
]
