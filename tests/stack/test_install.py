from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest
from stack.errors import StackError
from stack.files import build_aside
from stack.install import debian, java
from stack.install.pins import LOCK, Pin, pins
from stack.layout import REPO

if TYPE_CHECKING:
    from pathlib import Path

VERSION = re.compile(r"<version>(.*?)</version>")


def pin(**files: str) -> Pin:
    hashes = {name: (len(text), hashlib.sha256(text.encode()).hexdigest()) for name, text in files.items()}
    return Pin("thing", "1.0", "thing.xml", "", (), 0, hashes)


def test_what_was_fetched_must_be_what_is_locked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    pin(a="content").check(tmp_path)


def test_a_changed_file_is_named_and_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("altered")
    with pytest.raises(StackError, match="a was fetched with SHA-256"):
        pin(a="content").check(tmp_path)
    assert not (tmp_path / "a").exists()


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("")
    with pytest.raises(StackError, match=r"missing: a; unknown: b"):
        pin(a="content").check(tmp_path)


def test_a_bundles_folder_changes_with_its_pin_and_its_sources() -> None:
    assert pin(a="1").key() != pin(a="2").key()
    assert pin(a="1").key(b"source") != pin(a="1").key(b"other")


def test_the_lock_and_the_poms_name_the_same_versions_and_no_address() -> None:
    assert "://" not in LOCK.read_text()
    for each in pins().values():
        if each.pom:
            versions = VERSION.findall((REPO / each.pom).read_text())
            assert each.version in versions, each.name
            assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for _, digest in each.files.values())


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "server"
    with pytest.raises(FileNotFoundError), build_aside(target) as aside:
        (aside / "half" / "done").touch()
    assert list(tmp_path.iterdir()) == []
    with build_aside(target) as aside:
        (aside / "whole").touch()
    assert [path.name for path in target.iterdir()] == ["whole"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sources.list", "deb http://mirror.test/debian bookworm main contrib\n"),
        (
            "sources.list.d/a.list",
            "deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian trixie main\n",
        ),
        (
            "sources.list.d/debian.sources",
            "Types: deb\n# a comment\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n",
        ),
    ],
)
def test_the_mirror_is_the_machines_own(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(text)
    assert debian.mirror(tmp_path) == "http://mirror.test/debian"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# deb http://mirror.test/debian bookworm main\n",
        "deb http://mirror.test/debian-security bookworm-security main\n",
        "deb http://vendor.test/node nodistro main\n",
    ],
)
def test_without_a_debian_mirror_there_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.list").write_text(text)
    assert debian.mirror(tmp_path) is None


def fake_jdk(folder: Path, version: str, modules: str) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "java").touch()
    (folder / "release").write_text(f'JAVA_VERSION="{version}"\nMODULES="{modules}"\n')


FULL = "java.base " + " ".join(java.NEEDED)


@pytest.mark.parametrize(
    ("jdks", "chosen"),
    [
        ({"17.0.1": FULL, "25.0.3": FULL}, 25),
        ({"21": FULL, "25": "java.base"}, 21),
        ({"21.0.1": FULL, "26-ea": FULL}, 21),
        ({"27": FULL, "26": FULL}, 26),
        ({"17": FULL}, None),
        ({}, None),
    ],
)
def test_the_best_jdk_of_the_machine_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jdks: dict[str, str], chosen: int | None
) -> None:
    for version, modules in jdks.items():
        fake_jdk(tmp_path / f"jdk-{version}", version, modules)
    monkeypatch.setattr(java, "FOLDERS", (str(tmp_path),))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    found = java.find()
    assert (found.major if found else None) == chosen


def test_absolute_links_of_a_private_root_stay_inside(tmp_path: Path) -> None:
    (tmp_path / "etc" / "java").mkdir(parents=True)
    (tmp_path / "etc" / "java" / "security").write_text("inside")
    (tmp_path / "conf").symlink_to("/etc/java")
    debian.relink(tmp_path)
    assert (tmp_path / "conf" / "security").read_text() == "inside"
