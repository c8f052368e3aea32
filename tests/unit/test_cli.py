from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Protocol

import pytest

from sinks.cli import main
from sinks.cli.logs import JsonFormatter, TextFormatter
from sinks.cli.output import duration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOML = """
[kafka]
bootstrap = "127.0.0.1:9"
[sinks.replica]
type = "postgres"
dsn = "postgresql://u:secret@127.0.0.1:9/x"
http = "127.0.0.1:9"
"""


class Run(Protocol):
    def __call__(self, *arguments: str, toml: str = TOML) -> tuple[int, str, str]: ...


@pytest.fixture
def cdc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("CDC_CONFIG", "CDC_HOME"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers = list(root.handlers)

    def run(*arguments: str, toml: str = TOML) -> tuple[int, str, str]:
        (tmp_path / "cdc.toml").write_text(toml, encoding="utf-8")
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        code = caught.value.code
        assert code is None or isinstance(code, int)
        captured = capsys.readouterr()
        return code or 0, captured.out, captured.err

    yield run
    root.handlers[:] = handlers


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("run",),
        ("health",),
        ("lag",),
        ("config", "show"),
        ("config", "check"),
        ("outbox", "relay"),
        *(("dlq", name) for name in ("list", "show", "replay", "discard")),
    ],
)
def test_every_command_has_help_with_an_example(cdc: Run, command: tuple[str, ...]) -> None:
    code, out, _ = cdc(*command, "--help")
    assert code == 0
    assert "Example: cdc " in out


def test_config_check_and_show(cdc: Run) -> None:
    code, out, _ = cdc("config", "check")
    assert (code, "the configuration is fine: replica" in out) == (0, True)
    code, out, _ = cdc("config", "show", "--json")
    values = {value["key"]: value for value in json.loads(out)}
    assert values["sinks.replica.dsn"] == {
        "key": "sinks.replica.dsn",
        "value": "postgresql://u:*****@127.0.0.1:9/x",
        "origin": "cdc.toml",
    }
    assert "secret" not in cdc("config", "show")[1]


def test_a_bad_configuration_is_one_message_with_all_problems_and_code_2(cdc: Run) -> None:
    code, out, err = cdc("health", toml=TOML.replace("bootstrap", "bootstrp").replace("dsn", "dns"))
    assert (code, out) == (2, "")
    assert "has 3 problems" in err
    assert "kafka.bootstrp: unknown key. Did you mean 'bootstrap'?" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [("helth",), ("health", "--nope"), ("run", "--sink", "replca")])
def test_wrong_usage_is_code_2(cdc: Run, arguments: tuple[str, ...]) -> None:
    code, _, err = cdc(*arguments)
    assert code == 2
    assert "Traceback" not in err


def test_live_asks_only_the_worker(cdc: Run) -> None:
    code, out, _ = cdc("health", "--live")
    assert code == 1
    assert "replica: nothing answers at http://127.0.0.1:9" in out


def test_log_lines_hold_extras_and_no_password() -> None:
    record = logging.LogRecord("sinks.x", logging.INFO, "f", 1, "at %s", ("postgresql://u:secret@h",), None)
    record.action = "claimed"
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["action"], line["message"]) == (
        "info",
        "claimed",
        "at postgresql://u:*****@h",
    )
    assert line["time"].endswith("Z")
    assert (
        TextFormatter().format(record).endswith("INFO    sinks.x: at postgresql://u:*****@h action=claimed")
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.44, "0.4 s"),
        (12.9, "12 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (349_200, "4 d 1 h"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
