from __future__ import annotations

import json
from pathlib import Path

import pytest

from sinks.config import InvalidConfigError, Loaded, PostgresSink, load
from sinks.config.show import shown

TOML = """
[kafka]
bootstrap = "k:9092"
[sinks.replica]
type = "postgres"
dsn = "postgresql://u:secret@h/replica"
[sinks.search-2]
type = "elasticsearch"
url = "http://e:9200"
http = "127.0.0.1:8182"
"""
ENDPOINTS = {
    "mysql": {"host": "m", "port": 3307, "user": "u", "password": "pw"},
    "postgres": {"dsn": "postgresql://stack/replica"},
    "kafka": {"bootstrap": "stack:9092"},
    "registry": {"url": "http://r:8081"},
    "sinks": [{"name": "replica", "url": "http://127.0.0.1:7001"}, {"name": "other", "url": "http://x:1"}],
}
NOT_A_NUMBER = "input should be a valid integer, unable to parse string as an integer"


def read(directory: Path, text: str = TOML, **environ: str) -> Loaded:
    (directory / "cdc.toml").write_text(text, encoding="utf-8")
    return load(environ=environ, cwd=directory)


def problems(directory: Path, text: str = TOML, **environ: str) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        read(directory, text, **environ)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_file_is_valid_and_states_the_defaults() -> None:
    root = Path(__file__).parents[2]
    loaded = load(root / "cdc.toml", environ={"CDC_HOME": "no-such-directory"}, cwd=root)
    assert list(loaded.config.sinks) == ["replica", "search"]
    for name in ("kafka", "connect", "registry", "mysql", "worker", "health"):
        section = getattr(loaded.config, name)
        assert section == type(section)()


def test_later_sources_win(tmp_path: Path) -> None:
    (tmp_path / ".stack").mkdir()
    (tmp_path / ".stack/endpoints.json").write_text(json.dumps(ENDPOINTS), encoding="utf-8")
    loaded = read(tmp_path, CDC_KAFKA__BOOTSTRAP="env:1", CDC_SINKS__SEARCH_2__CONNECTIONS="3")
    config = loaded.config
    replica = config.sinks["replica"]
    assert isinstance(replica, PostgresSink)
    assert config.kafka.bootstrap == "env:1"
    assert replica.dsn.get_secret_value() == "postgresql://stack/replica"
    assert (replica.bind, replica.name) == (("127.0.0.1", 7001), "replica")
    assert config.registry.url == "http://r:8081/apis/ccompat/v7"
    assert config.mysql.port == 3307
    assert loaded.origins["kafka", "bootstrap"] == "CDC_KAFKA__BOOTSTRAP"
    assert loaded.origins["sinks", "replica", "dsn"] == ".stack/endpoints.json"
    assert loaded.origins["sinks", "search-2", "connections"] == "CDC_SINKS__SEARCH_2__CONNECTIONS"


def test_lists_and_sizes_can_come_from_the_environment(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        CDC_SINKS__REPLICA__INCLUDE="shop.*, crm",
        CDC_SINKS__REPLICA__ROUTES='{"shop.*": "sales.*"}',
        CDC_WORKER__BATCH_BYTES="8MiB",
        CDC_KAFKA__OPTIONS__SASL_PASSWORD="pw",
    )
    replica = loaded.config.sinks["replica"]
    assert replica.include == ("shop.*", "crm")
    assert replica.routes == {"shop.*": "sales.*"}
    assert loaded.config.worker.batch_bytes == 8 << 20
    assert loaded.config.kafka.client_options() == {"sasl.password": "pw"}


def test_a_secret_can_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("postgresql://from-file\n", encoding="utf-8")
    replica = read(tmp_path, CDC_SINKS__REPLICA__DSN_FILE="dsn").config.sinks["replica"]
    assert isinstance(replica, PostgresSink)
    assert replica.dsn.get_secret_value() == "postgresql://from-file"
    found = problems(tmp_path, TOML.replace('dsn = "postgresql://u:secret@h/replica"', 'dsn_file = "gone"'))
    assert found == ["cdc.toml: sinks.replica.dsn_file: can't read the file: No such file or directory"]


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    text = TOML.replace("bootstrap", "bootstrp").replace("http://e:9200", "e:9200") + "[wroker]\nx = 1\n"
    found = problems(
        tmp_path, text, CDC_KAFAK__X="1", CDC_KAFKA_BOOTSTRAP="k:1", CDC_WORKER__BATCH_RECORDS="many"
    )
    assert found == [
        "CDC_KAFAK__X: unknown section. Did you mean 'kafka'?",
        "CDC_KAFKA_BOOTSTRAP: does not name a key. Write CDC_KAFKA__BOOTSTRAP, with two underscores",
        "cdc.toml: kafka.bootstrp: unknown key. Did you mean 'bootstrap'?",
        f"CDC_WORKER__BATCH_RECORDS: worker.batch_records: {NOT_A_NUMBER}",
        "cdc.toml: sinks.search-2.url: must be a URL that starts with http:// or https://",
        "cdc.toml: wroker: unknown key. Did you mean 'worker'?",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('type = "postgres"', 'type = "postgre"', "sinks.replica.type: unknown type 'postgre'. Did you mean"),
        ('type = "postgres"', "", "sinks.replica: has no type"),
        (
            'dsn = "postgresql://u:secret@h/replica"',
            "",
            "sinks.replica.dsn: is required and not given. Set it in",
        ),
        ('http = "127.0.0.1:8182"', "", "sinks.search-2.http: is the same address as that of sinks.replica"),
        ("http://e:9200", "http://u:secret@e:9200", "url holds a user or password"),
        ("[sinks.replica]", '[sinks.replica]\nroutes = {"a.*" = "b.c"}', "sends several tables to one"),
        (
            "[sinks.replica]",
            '[sinks.replica]\nexclude_columns = ["mail"]',
            "not of the form database.table.column",
        ),
        ("[kafka]", "[kafka", "is not valid TOML"),
        (
            "[kafka]",
            '[health]\nlag_seconds = -1\n[worker]\nbatch_bytes = "1 GiB"\n[kafka]',
            "cdc.toml: worker: batch_bytes is larger than queue_bytes",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    found = problems(tmp_path, TOML.replace(old, new))
    assert problem in found[0]
    assert "secret" not in "".join(found)


def test_a_file_asked_for_must_exist_and_a_sink_must_be_configured(tmp_path: Path) -> None:
    assert problems(tmp_path, CDC_CONFIG="gone.toml") == ["CDC_CONFIG: there is no file gone.toml"]
    assert problems(tmp_path, "") == [
        "cdc.toml: no sink is configured. Add a section [sinks.replica]; see cdc.toml"
    ]


def test_a_broken_endpoints_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/endpoints.json").write_text("[1", encoding="utf-8")
    assert "home/endpoints.json: is not what scripts/up writes" in problems(tmp_path, CDC_HOME="home")[0]


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    loaded = read(tmp_path, CDC_MYSQL__PASSWORD="secret", CDC_KAFKA__OPTIONS__SASL_PASSWORD="secret")
    values = {value.key: value.value for value in shown(loaded)}
    assert values["sinks.replica.dsn"] == "postgresql://u:*****@h/replica"
    assert values["mysql.password"] == "*****"
    assert values["kafka.options.sasl.password"] == "*****"
    assert values["sinks.search-2.password"] == ""
    assert "secret" not in repr(loaded.config)
