from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from stack.errors import StackError
from stack.process import Launch, Process, run, start_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEP = Launch(["sleep", "60"])
STUBBORN = Launch(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process("server", tmp_path, tmp_path / "server.log")
    yield process
    process.end(signal.SIGKILL, 5)


def test_a_spawned_process_is_recognised_by_another_instance(process: Process, tmp_path: Path) -> None:
    spawned = process.spawn(SLEEP)
    assert Process("server", tmp_path, tmp_path / "server.log").running() == spawned
    assert spawned.launch == SLEEP.fingerprint()


def test_a_reused_process_id_is_not_ours_and_is_left_alone(process: Process, tmp_path: Path) -> None:
    own = start_time(os.getpid())
    assert own is not None
    (tmp_path / "server.json").write_text(json.dumps({"pid": os.getpid(), "started": own - 1, "launch": ""}))
    assert process.running() is None
    assert process.signal(signal.SIGKILL) is False


def test_a_half_written_process_file_counts_as_none(process: Process, tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"pid": 1')
    assert process.running() is None


def test_end_is_graceful_where_the_process_lets_it(process: Process) -> None:
    pid = process.spawn(SLEEP).pid
    assert process.end(signal.SIGTERM, 5) is False
    assert start_time(pid) is None


def test_end_kills_what_does_not_listen(process: Process) -> None:
    pid = process.spawn(STUBBORN).pid
    while "ready" not in process.last_words():
        pass
    assert process.end(signal.SIGTERM, 0.2) is True
    assert start_time(pid) is None


def test_output_and_environment_reach_the_log(process: Process) -> None:
    process.spawn(Launch(["sh", "-c", "echo said $WORD; pwd"], env={"WORD": "hello"}))
    while process.running():
        pass
    assert process.last_words() == "said hello\n/"


def test_the_fingerprint_follows_arguments_environment_and_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("a=1")
    launch = Launch(["server"], env={"A": "1"}, configs=[config])
    before = launch.fingerprint()
    assert before == Launch(["server"], env={"A": "1"}, configs=[config]).fingerprint()
    assert before != Launch(["server", "-x"], env={"A": "1"}, configs=[config]).fingerprint()
    assert before != Launch(["server"], env={"A": "2"}, configs=[config]).fingerprint()
    config.write_text("a=2")
    assert before != launch.fingerprint()


def test_a_failing_command_says_which_and_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"sh ended with exit code 3\. To mend it, see tool\.log"):
        run(["sh", "-c", "exit 3"], log=tmp_path / "tool.log")
