"""What the monitor reads of runs on disk, over the server's own routes."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path

import pytest
from incontext_lora.tests.dataset_sets import RECIPE
from incontext_lora.tests.past_runs import past_run, step_event
from incontext_lora.tests.route_client import Client
from incontext_lora.training.runs import claims, supervise
from incontext_lora.training.runs.run_folder import RunWriter
from PIL import Image


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
