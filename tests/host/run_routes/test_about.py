"""A run's label and note, its folder on the desktop, and its deletion."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.tests.past_runs import past_run, running
from incontext_lora.tests.route_client import Client
from incontext_lora.training.runs import claims
from incontext_lora.training.runs.run_folder import RunWriter

if TYPE_CHECKING:
    from conftest import HostPack


def test_a_run_is_named_and_noted(client: Client, runs: Path) -> None:
    run = past_run(runs, "plain-name")
    shown = client.get("runs/plain-name")[1]["run"]
    assert (shown["label"], shown["note"]) == ("", "")
    status, answer = client.post("runs/plain-name/label", {"label": "  Better\n captions "})
    assert (status, answer) == (200, {"label": "Better captions", "note": ""})
    assert client.post("runs/plain-name/label", {"note": "two lines\nof it: 好"})[0] == 200
    for listed in (client.get("runs/plain-name")[1]["run"], *client.get("runs")[1]["runs"]):
        if listed["name"] == "plain-name":
            assert (listed["label"], listed["note"]) == ("Better captions", "two lines\nof it: 好")
            assert listed["title"] == "plain-name", "its node still finds it"
    assert client.post("runs/plain-name/label", {"label": ""})[1]["label"] == ""
    assert run.folder.is_dir()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"label": 3}, "'label' cannot be set"),
        ({"name": "other"}, "'name' cannot be set"),
        ({"label": "x" * 101}, "Shorten it to 100"),
        ({"note": "x" * 10_001}, "Shorten it to 10000"),
    ],
)
def test_odd_labels_are_refused(client: Client, runs: Path, asked: Any, said: str) -> None:
    if not (runs / "labelled").exists():
        past_run(runs, "labelled")
    status, answer = client.post("runs/labelled/label", asked)
    assert status == 400
    assert said in answer["error"]
    assert not (runs / "labelled" / "label.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"label": 1}'])
def test_a_damaged_label_is_none(client: Client, runs: Path, text: str) -> None:
    if not (runs / "mislabelled").exists():
        past_run(runs, "mislabelled")
    (runs / "mislabelled" / "label.json").write_text(text)
    assert client.get("runs/mislabelled")[1]["run"]["label"] == ""


def test_a_run_is_deleted_and_its_lora_stays(client: Client, runs: Path, host: HostPack) -> None:
    run = past_run(runs, "unwanted")
    lora = client.post("runs/unwanted/use", {"checkpoint": "unwanted-step000005.safetensors"})[1]["lora"]
    assert client.post("runs/unwanted/delete") == (200, {"deleted": "unwanted"})
    assert not run.folder.exists()
    assert (host.base / "output" / "loras" / lora).is_file()
    assert "unwanted" not in [each["name"] for each in client.get("runs")[1]["runs"]]
    status, answer = client.post("runs/unwanted/delete")
    assert status == 400
    assert "There is no training 'unwanted'" in answer["error"]


def test_a_run_that_trains_is_never_deleted(client: Client, runs: Path) -> None:
    with running(runs, "at-work") as run:
        status, answer = client.post("runs/at-work/delete")
        assert (status, answer["error"]) == (400, "at-work is training. Stop it before you delete it.")
        writer = RunWriter(run)
        writer.event("finished")  # the end is told, but whoever trains it is not done yet
        writer.close()
        assert client.post("runs/at-work/delete")[0] == 400
        assert (run.folder / "run.json").is_file()
    assert client.post("runs/at-work/delete")[0] == 200


def test_a_run_that_is_being_started_is_not_deleted(
    client: Client, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = past_run(runs, "starting")
    monkeypatch.setattr(claims, "BRIEF", 0.1)
    with claims.deciding(run.folder):
        status, answer = client.post("runs/starting/delete")
    assert status == 400
    assert "started or ended elsewhere" in answer["error"]
    assert (run.folder / "checkpoints").is_dir()


@pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="They open folders with a program that a test cannot replace."
)
def test_a_folder_is_shown_on_the_desktop_of_this_machine_only(
    client: Client, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = past_run(runs, "shown")
    opener = tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/half && mv {tmp_path}/half {tmp_path}/opened\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{opener.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    assert client.send("runs/shown/folder", b"{}", Content_Type="application/json", X_Forwarded_For="10.0.0.9") == (
        200,
        {"folder": str(run.folder), "opened": False},
    )
    assert client.post("runs/shown/folder") == (200, {"folder": str(run.folder), "opened": True})
    deadline = time.monotonic() + 20
    while not (tmp_path / "opened").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "opened").read_text() == str(run.folder)
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert client.post("runs/shown/folder")[1]["opened"] is False
