"""What the monitor asks of a run: use a checkpoint, save, stop, end, resume."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.tests.dataset_sets import RECIPE
from incontext_lora.tests.past_runs import past_run, running
from incontext_lora.tests.route_client import Client
from incontext_lora.tests.sd_scripts_machine import flux_files, flux_order, stand_in_machine
from incontext_lora.training.runs import supervise
from incontext_lora.training.sd_scripts import begin

if TYPE_CHECKING:
    from conftest import HostPack


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        ("runs/asked/ask", {"what": "stop"}, "is no longer running"),
        ("runs/asked/ask", {"what": "../x"}, "cannot be asked"),
        ("runs/asked/ask", {"what": "end"}, "no process of its own"),
        ("runs/asked/ask", {}, "cannot be read"),
        ("runs/asked/use", {"checkpoint": "../../run.json"}, "no checkpoint"),
        ("runs/nowhere/ask", {"what": "stop"}, "There is no training"),
        ("trainer", {"action": "remove"}, "no action 'remove'"),
        ("trainer", {"action": "install --python /bin/sh"}, "has no action"),
    ],
)
def test_what_cannot_be_done_is_said(client: Client, runs: Path, path: str, asked: Any, said: str) -> None:
    if not (runs / "asked").exists():
        past_run(runs, "asked")
    status, answer = client.post(path, asked)
    assert status == 400
    assert said in answer["error"]


def test_a_checkpoint_becomes_a_lora(client: Client, runs: Path, host: HostPack) -> None:
    import folder_paths

    past_run(runs, "used")
    asked = {"checkpoint": "used-step000005.safetensors"}
    status, answer = client.post("runs/used/use", asked)
    assert (status, answer) == (200, {"lora": "used-step000005.safetensors"})
    assert client.post("runs/used/use", asked)[1] == answer, "twice is once"
    assert answer["lora"] in folder_paths.get_filename_list("loras")
    recipe = read_recipe(host.base / "output" / "loras" / answer["lora"])
    assert recipe is not None
    assert recipe.name == RECIPE.name
    (host.base / "output" / "loras" / answer["lora"]).write_bytes(b"something else")
    other = client.post("runs/used/use", asked)[1]["lora"]
    assert other == "used-step000005_00002.safetensors", "another file is never replaced"


def test_a_run_of_sd_scripts_is_stopped_and_resumed(
    client: Client, host: HostPack, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from incontext_lora.nodes.training import sd_scripts_run

    base = host.base / "output"
    where = replace(
        stand_in_machine(tmp_path, tmp_path / "ComfyUI"), runs=base / "incontext_runs", loras=base / "loras"
    )
    monkeypatch.setattr(sd_scripts_run, "this_machine", lambda: where)
    monkeypatch.setenv("STAND_IN", json.dumps({"pause": 0.1}))
    order = replace(flux_order(dataset, flux_files(tmp_path / "models"), steps=40, save_every=2), name="stand-in")
    run, process = begin.start(order, where)
    sd_scripts_run.settle_later(run, process)
    try:
        wait_for(client, "stand-in", lambda shown: shown["step"] > 2)
        assert client.post("runs/stand-in/ask", {"what": "stop"})[0] == 200
        stopped = wait_for(client, "stand-in", lambda shown: shown["state"] == "cancelled")
        assert stopped["resumable"]
        assert "Resume it from step" in stopped["error"]
        monkeypatch.setenv("STAND_IN", "{}")
        assert client.post("runs/stand-in/resume")[0] == 200
        finished = wait_for(client, "stand-in", lambda shown: shown["state"] == "finished")
        assert (finished["step"], finished["resumable"]) == (40, False)
        assert finished["lora"] == "stand-in.safetensors"
        status, answer = client.post("runs/stand-in/resume")
        assert status == 400
        assert "is finished" in answer["error"]
    finally:
        supervise.kill(run.folder)


def test_a_run_of_sd_scripts_that_does_not_listen_is_ended(
    client: Client, host: HostPack, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = host.base / "output"
    where = replace(
        stand_in_machine(tmp_path, tmp_path / "ComfyUI"), runs=base / "incontext_runs", loras=base / "loras"
    )
    monkeypatch.setenv("STAND_IN", json.dumps({"pause": 0.1, "ignore": True}))
    order = replace(flux_order(dataset, flux_files(tmp_path / "models"), steps=900, save_every=2), name="unheeding")
    run, process = begin.start(order, where)
    try:
        wait_for(client, "unheeding", lambda shown: shown["step"] > 2)
        assert client.post("runs/unheeding/ask", {"what": "end"})[0] == 200
        process.wait(10)
        assert client.get("runs/unheeding")[1]["run"]["state"] == "cancelled"
    finally:
        supervise.kill(run.folder)


def test_no_training_is_resumed_while_comfyui_works(
    client: Client, runs: Path, host: HostPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    past_run(runs, "waiting", trainer="sd-scripts")
    queue = type("Queue", (), {"get_tasks_remaining": lambda self: 1})()
    monkeypatch.setattr(host.prompt_server, "prompt_queue", queue, raising=False)
    status, answer = client.post("runs/waiting/resume")
    assert status == 400
    assert "working on a prompt" in answer["error"]


def wait_for(client: Client, name: str, wanted: Any, patience: float = 60) -> Any:
    deadline, shown = time.monotonic() + patience, None
    while time.monotonic() < deadline:
        shown = client.get(f"runs/{name}")[1]["run"]
        if wanted(shown):
            return shown
        time.sleep(0.1)
    raise AssertionError(shown)


def test_a_training_in_comfyui_is_resumed_by_its_workflow(client: Client, runs: Path) -> None:
    past_run(runs, "of-a-workflow")
    status, answer = client.post("runs/of-a-workflow/resume")
    assert status == 400
    assert "choose of-a-workflow under resume in its training node" in answer["error"]


def test_what_is_asked_for_has_a_time(client: Client, runs: Path) -> None:
    with running(runs, "asked-when"):
        status, answer = client.post("runs/asked-when/ask", {"what": "save"})
    assert (status, answer["asked"]) == (200, "save")
    assert answer["time"] == pytest.approx(time.time(), abs=30)
