"""What the monitor asks of the server, over the server's own routes: runs on disk, the stand-in trainer, datasets."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.tests.dataset_sets import RECIPE, folder_set, folder_sets
from incontext_lora.tests.route_client import Client
from incontext_lora.tests.sd_scripts_place import flux_files, flux_order, stand_in_place
from incontext_lora.training.runs import claims, supervise
from incontext_lora.training.runs.run_folder import Run, RunWriter
from incontext_lora.training.sd_scripts import begin, environment, installing
from incontext_lora.training.sd_scripts.processes import Processes
from PIL import Image

if TYPE_CHECKING:
    from conftest import HostPack

ESCAPES = [
    "..",
    ".",
    "%2e%2e",
    "..%2foutside",
    "%2e%2e%2fincontext_datasets",
    "%2fetc",
    "nowhere",
    "..%5coutside",
    "%00",
    "%ED%A0%80",
    "%FF",
    "x" * 300,
    "%F0%9F%98%80" * 100,
    "~nosuchuser",
]


@pytest.fixture(scope="module")
def client(host: HostPack) -> Iterator[Client]:
    made = Client(host)
    yield made
    made.close()


@pytest.fixture(scope="module")
def dataset(host: HostPack) -> Dataset:
    folder_sets(host.base / "input" / "shown-sets", 4)
    folder_set(host.base / "input" / "shown-sets", 5, images=2)
    return host.call("InContextBuildDataset", folder="shown-sets", recipe=RECIPE)[0]


@pytest.fixture
def runs(host: HostPack) -> Path:
    return host.base / "output" / "incontext_runs"


def past_run(runs: Path, name: str, steps: int = 5, trainer: str = "in-host") -> Run:
    """A run that was trained in ComfyUI, or elsewhere, and finished."""
    about = {"trainer": trainer, "name": name, "settings": {"steps": steps}, "recipe": RECIPE.to_json()}
    writer = RunWriter.create(runs, name, about)
    writer.event("started", steps=steps)
    writer.event("phase", phase="training")
    for step in range(1, steps + 1):
        step_event(writer, step, steps)
    Image.new("RGB", (128, 192), "red").save(writer.run.folder / "samples" / "step000005.png")
    writer.event("sample", step=steps, file="step000005.png")
    lora = {"a.lora_down.weight": torch.ones(1, 2), "a.lora_up.weight": torch.ones(2, 1)}
    writer.checkpoint(steps, lora, RECIPE)
    writer.event("finished", lora=f"{name}.safetensors")
    writer.close()
    return writer.run


def step_event(writer: RunWriter, step: int, steps: int) -> None:
    writer.event(
        "step", step=step, steps=steps, loss=1 / step, smoothed=1 / step, learning_rate=1e-4, seconds_per_step=0.5,
        seconds_left=0.5 * (steps - step), memory=1.5,
    )  # fmt: skip


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_past_run_is_shown(client: Client, runs: Path) -> None:
    run = past_run(runs, "past")
    _, listed = client.get("runs")
    entry = next(entry for entry in listed["runs"] if entry["name"] == "past")
    assert (entry["state"], entry["step"], entry["steps"], entry["lora"]) == ("finished", 5, 5, "past.safetensors")
    assert entry["started"] == pytest.approx(time.time(), abs=60)
    status, shown = client.get("runs/past")
    assert status == 200
    assert shown["run"] == entry
    assert shown["layout"]["panels"] == RECIPE.to_json()["layout"]["panels"]
    assert shown["news"]["points"]["loss"] == [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert [event["event"] for event in shown["news"]["events"]] == [
        "started", "phase", "sample", "checkpoint", "finished",
    ]  # fmt: skip
    assert [(entry["file"], entry["step"]) for entry in shown["checkpoints"]] == [("past-step000005.safetensors", 5)]
    status, picture = client.get("runs/past/samples/step000005.png")
    assert status == 200
    assert Image.open(io.BytesIO(picture)).size == (128, 192)
    # the name comes again when the run is resumed or started again
    assert "no-cache" in client.caching("runs/past/samples/step000005.png")
    assert "saved past-step000005.safetensors" in client.get("runs/past/log")[1]["log"][-1]
    assert run.state == "finished"


def test_the_newest_run_comes_first(client: Client, runs: Path) -> None:
    past_run(runs, "older")
    time.sleep(0.05)
    past_run(runs, "newer")
    names = [run["name"] for run in client.get("runs")[1]["runs"]]
    assert names.index("newer") < names.index("older")


def test_only_what_is_new_is_sent(client: Client, runs: Path) -> None:
    run = past_run(runs, "growing")
    offset = client.get("runs/growing")[1]["news"]["offset"]
    assert offset == (run.folder / "events.jsonl").stat().st_size
    writer = RunWriter(run)
    step_event(writer, 6, 9)
    writer.close()
    with (run.folder / "events.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # still being written
    news = client.get(f"runs/growing?from={offset}")[1]["news"]
    assert (news["from"], news["points"]["step"], news["more"]) == (offset, [6], False)
    with (run.folder / "events.jsonl").open("a") as file:
        file.write('ep": 7, "loss": 0.1}\n')
    again = client.get(f"runs/growing?from={news['offset']}")[1]["news"]
    assert (again["points"]["step"], again["points"]["smoothed"]) == ([7], [None])
    assert client.get("runs/growing?from=999999999")[1]["news"]["from"] == 0, "the file was replaced"


def test_damaged_lines_are_passed_over(client: Client, runs: Path) -> None:
    run = past_run(runs, "damaged")
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "st\n\xff\xfe\n[1]\n{"event": "step", "step": 6, "loss": NaN, "smoothed": Infinity}\n')
    status, shown = client.get("runs/damaged")
    assert status == 200
    assert shown["news"]["points"]["step"][-1] == 6
    assert shown["news"]["points"]["loss"][-1] is None, "JSON has no NaN"
    assert shown["run"]["state"] == "finished"


@pytest.mark.parametrize("text", ["{", "[1]", "null", "[" * 100_000, '{"settings": {"steps": 1e999}}', '{"name": NaN}'])
def test_a_damaged_run_is_listed_as_damaged_and_hides_no_other(client: Client, runs: Path, text: str) -> None:
    if not (runs / "sound-run").exists():
        past_run(runs, "sound-run")
    (runs / "broken").mkdir(exist_ok=True)
    (runs / "broken" / "run.json").write_text(text)
    try:
        states = {run["name"]: run["state"] for run in client.get("runs")[1]["runs"]}
        assert (states["sound-run"], states["broken"]) == ("finished", "damaged")
        status, answer = client.get("runs/broken")
        assert (status, answer["run"]["state"]) == (200, "damaged")
        assert "run.json cannot be" in answer["run"]["error"]
        for path, asked in (("resume", {}), ("ask", {"what": "stop"}), ("use", {"checkpoint": "x"})):
            status, answer = client.post(f"runs/broken/{path}", asked)
            assert status == 400
            assert answer["error"]
    finally:
        shutil.rmtree(runs / "broken")


def test_long_runs_come_in_portions(client: Client, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from incontext_lora.training.runs import monitor

    past_run(runs, "long", steps=200)
    monkeypatch.setattr(monitor, "PORTION", 4000)
    steps, offset, more, portions = [], 0, True, 0
    while more:
        news = client.get(f"runs/long?from={offset}")[1]["news"]
        offset, more, portions = news["offset"], news["more"], portions + 1
        steps += news["points"]["step"]
    assert steps == list(range(1, 201))
    assert portions > 3


def test_a_run_whose_process_is_gone_is_interrupted(client: Client, runs: Path) -> None:
    writer = RunWriter.create(runs, "gone", {"trainer": "in-host", "settings": {"steps": 9}})
    with claims.attending(writer.run.folder):
        supervise.note(writer.run.folder, os.getpid(), supervise.HOST_RECORD)
        writer.event("started", steps=9)
        step_event(writer, 3, 9)
        assert client.get("runs/gone")[1]["run"]["state"] == "running"
    assert client.get("runs/gone")[1]["run"]["state"] == "interrupted", "at once, though this process goes on"
    writer.close()


def test_a_run_of_an_earlier_version_has_no_lock(client: Client, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from incontext_lora.training.runs import monitor

    writer = RunWriter.create(runs, "earlier", {"trainer": "in-host", "settings": {"steps": 9}})
    writer.event("started", steps=9)
    assert client.get("runs/earlier")[1]["run"]["state"] == "running", "it has only just spoken"
    monkeypatch.setattr(monitor, "GRACE", 0.0)
    assert client.get("runs/earlier")[1]["run"]["state"] == "interrupted"
    supervise.note(writer.run.folder, os.getpid(), supervise.HOST_RECORD)
    assert client.get("runs/earlier")[1]["run"]["state"] == "running"
    writer.close()


def test_an_event_larger_than_a_portion_is_passed_over(client: Client, runs: Path) -> None:
    run = past_run(runs, "large-event")
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "' + b"x" * 5_000_000 + b'"}\n')
    writer = RunWriter(run)
    step_event(writer, 6, 9)
    writer.close()
    steps, offset, more, asked = [], 0, True, 0
    while more:
        news = client.get(f"runs/large-event?from={offset}")[1]["news"]
        steps, offset, more, asked = steps + news["points"]["step"], news["offset"], news["more"], asked + 1
        assert asked < 10, "the page would ask for ever"
    assert steps == [1, 2, 3, 4, 5, 6]
    assert offset == (run.folder / "events.jsonl").stat().st_size


# --- what leads elsewhere -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("path", ["runs/{}", "runs/{}/log", "runs/{}/samples/run.json", "datasets/{}", "datasets/{}/x"])
def test_names_lead_nowhere_else(client: Client, host: HostPack, dataset: Dataset, path: str, name: str) -> None:
    outside = host.base / "output" / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "run.json").write_text("{}")
    status, answer = client.get(path.format(name))
    assert status in (400, 404, 405) or answer == {"dataset": None}
    assert "traceback" not in str(answer).lower()


@pytest.mark.parametrize("file", ["..%2frun.json", "run.json", "%2fetc%2fpasswd", "gone.png"])
def test_only_samples_are_sent(client: Client, runs: Path, file: str) -> None:
    past_run(runs, "closed")
    assert client.get(f"runs/closed/samples/{file}")[0] == 404


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        ("runs/asked/ask", {"what": "stop"}, "does not run any more"),
        ("runs/asked/ask", {"what": "../x"}, "cannot be asked"),
        ("runs/asked/ask", {"what": "end"}, "no process of its own"),
        ("runs/asked/ask", {}, "cannot be read"),
        ("runs/asked/use", {"checkpoint": "../../run.json"}, "no checkpoint"),
        ("runs/nowhere/ask", {"what": "stop"}, "There is no training"),
        ("trainer", {"action": "remove"}, "not to 'remove'"),
        ("trainer", {"action": "install --python /bin/sh"}, "not to"),
    ],
)
def test_what_cannot_be_done_is_said(client: Client, runs: Path, path: str, asked: Any, said: str) -> None:
    if not (runs / "asked").exists():
        past_run(runs, "asked")
    status, answer = client.post(path, asked)
    assert status == 400
    assert said in answer["error"]


# --- acting ---------------------------------------------------------------------------------------------------------


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
    where = replace(stand_in_place(tmp_path, tmp_path / "ComfyUI"), runs=base / "incontext_runs", loras=base / "loras")
    monkeypatch.setattr(sd_scripts_run, "place", lambda: where)
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
    where = replace(stand_in_place(tmp_path, tmp_path / "ComfyUI"), runs=base / "incontext_runs", loras=base / "loras")
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


@contextmanager
def running(runs: Path, name: str) -> Iterator[Run]:
    """A run that this process trains."""
    writer = RunWriter.create(runs, name, {"trainer": "in-host", "settings": {"steps": 9}})
    with claims.attending(writer.run.folder):
        writer.event("started", steps=9)
        step_event(writer, 3, 9)
        yield writer.run
    writer.close()


# --- names, notes, folders, deletion --------------------------------------------------------------------------------


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
    assert "by somebody else at this moment" in answer["error"]
    assert (run.folder / "checkpoints").is_dir()


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("action", ["delete", "label", "folder"])
def test_no_other_folder_is_touched(client: Client, host: HostPack, dataset: Dataset, action: str, name: str) -> None:
    outside = host.base / "output" / "outside-runs"
    outside.mkdir(exist_ok=True)
    (outside / "run.json").write_text("{}")
    assert client.post(f"runs/{name.replace('outside', 'outside-runs')}/{action}", {"note": "x"})[0] in (400, 404, 405)
    assert [path.name for path in outside.iterdir()] == ["run.json"]
    assert (dataset.folder).is_dir()


def test_a_link_to_another_folder_is_not_deleted(client: Client, runs: Path, tmp_path: Path) -> None:
    elsewhere = past_run(tmp_path, "elsewhere")
    try:
        (runs / "linked").symlink_to(elsewhere.folder, target_is_directory=True)
    except OSError:
        pytest.skip("This system makes no links.")
    assert client.post("runs/linked/delete")[0] == 400
    assert (elsewhere.folder / "run.json").is_file()
    (runs / "linked").unlink()


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


# --- the trainer ----------------------------------------------------------------------------------------------------


@pytest.fixture
def trainer_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INCONTEXT_LORA_DATA", str(tmp_path))
    return tmp_path / "trainer"


def test_what_an_installation_takes_is_said_before(client: Client, trainer_folder: Path) -> None:
    status, told = client.get("trainer")
    assert status == 200
    assert not told["installed"]
    assert not told["busy"]
    assert told["download"] > 0
    assert told["disk"] > told["download"]
    assert told["folder"] == str(trainer_folder)
    assert not trainer_folder.exists(), "asking makes nothing"


def test_an_installation_is_started_once_and_watched(
    client: Client, trainer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "import time; print('fetching', flush=True); time.sleep(1.5); print('failed: no network')"
    monkeypatch.setattr(installing, "command", lambda action: (sys.executable, "-c", slow))
    status, told = client.post("trainer", {"action": "install"})
    assert (status, told["busy"]) == (200, True)
    status, answer = client.post("trainer", {"action": "install"})
    assert status == 400
    assert "already" in answer["error"]
    deadline = time.monotonic() + 30
    while told["busy"] and time.monotonic() < deadline:
        time.sleep(0.1)
        told = client.get("trainer")[1]
    assert told["log"] == ["fetching", "failed: no network"]
    assert not told["installed"]


def test_the_real_check_says_what_is_missing(client: Client, trainer_folder: Path) -> None:
    client.post("trainer", {"action": "check"})
    deadline = time.monotonic() + 60
    while client.get("trainer")[1]["busy"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "not installed" in " ".join(client.get("trainer")[1]["log"])


def test_an_installed_trainer_is_known(client: Client, trainer_folder: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "sd-scripts"
    checkout.mkdir()
    (checkout / "train_network.py").touch()
    environment.remember(environment.Trainer(Path(sys.executable), checkout, "abc", True, {}), trainer_folder)
    told = client.get("trainer")[1]
    assert (told["installed"], told["problem"], told["checkout"]) == (True, "", str(checkout))


# --- datasets -------------------------------------------------------------------------------------------------------


def test_findings_stand_with_their_sets(client: Client, dataset: Dataset) -> None:
    status, answer = client.get("datasets/shown-sets")
    assert status == 200
    shown = answer["dataset"]
    assert [entry["name"] for entry in shown["sets"]] == ["set-1", "set-2", "set-3", "set-4"]
    assert [entry["name"] for entry in shown["left_out"]] == ["set-5"]
    assert shown["left_out"][0]["findings"][0]["level"] == "error"
    assert any("20 to 100" in finding["problem"] for finding in shown["findings"])
    status, picture = client.get(f"datasets/shown-sets/{shown['sets'][0]['id']}")
    assert status == 200
    assert Image.open(io.BytesIO(picture)).size == (128, 192)
    assert client.get("datasets/shown-sets/0000")[0] == 404
    assert client.get("datasets/not-built-yet") == (200, {"dataset": None})


def test_the_node_says_which_dataset_it_built(host: HostPack, dataset: Dataset) -> None:
    output = host.output("InContextBuildDataset", folder="shown-sets", recipe=RECIPE)
    assert output.ui["incontext_dataset"] == ["shown-sets"]


def test_how_many_processes_train_together(client: Client, trainer_folder: Path) -> None:
    told = client.get("trainer")[1]
    assert told["processes"] == {"count": 1, "machines": 1, "rank": 0, "address": "127.0.0.1", "port": 29500}
    assert told["cards"] == 0
    status, told = client.post("trainer/processes", {"count": 4, "machines": 2, "address": "gpu-1", "rank": 1})
    assert status == 200
    assert told["processes"] == {"count": 4, "machines": 2, "rank": 1, "address": "gpu-1", "port": 29500}
    assert Processes.load(trainer_folder / "processes.json") == Processes(4, 2, 1, "gpu-1")
    for values, said in (
        ({"count": 3}, "Choose a multiple of 2"),
        ({"address": "--config_file=/tmp/x"}, "host name or an IP address"),
        ({"config": "/tmp/x"}, "'config' cannot be set"),
    ):
        status, told = client.post("trainer/processes", values)
        assert (status, said in told["error"]) == (400, True), told
    assert Processes.load(trainer_folder / "processes.json") == Processes(4, 2, 1, "gpu-1"), "nothing was kept of those"
    (trainer_folder / "processes.json").write_text("{")
    assert "cannot be read" in client.get("trainer")[1]["processes_problem"]
    assert client.post("trainer/processes", {"count": 2})[1]["processes_problem"] == ""
    assert Processes.load(trainer_folder / "processes.json") == Processes(2)
