from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from incontext_lora.incontext.errors import InContextError, TrainingError
from incontext_lora.incontext.files.atomic import write_atomic
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.lora.recipe_file import read_recipe
from incontext_lora.incontext.panels import arrange
from incontext_lora.tests.busy_files import BusyFile
from incontext_lora.training.runs import run_folder
from incontext_lora.training.runs.run_folder import Run, RunWriter, safe_name
from safetensors.torch import load_file

RECIPE = Recipe("toys", arrange.rows(64, 128, 2), prefix="[TOYS]")


@pytest.fixture
def writer(tmp_path: Path):
    writer = RunWriter.create(tmp_path / "runs", "toys", {"settings": {"steps": 2}})
    yield writer
    writer.close()


def test_a_run_is_read_while_it_is_written(writer: RunWriter) -> None:
    run = Run(writer.run.folder)
    assert run.about == {"version": run_folder.RUN_VERSION, "settings": {"steps": 2}}
    assert run.state == run_folder.STARTED
    writer.event(run_folder.STARTED)
    writer.event(run_folder.STEP, step=1, loss=0.5)
    writer.event(run_folder.STEP, step=2, loss=0.25)
    assert run.losses() == [0.5, 0.25]
    assert [event["event"] for event in run.events()] == ["started", "step", "step"]
    writer.event(run_folder.CANCELLED)
    assert run.state == run_folder.CANCELLED
    writer.log("stopped")
    assert "stopped" in (run.folder / "log.txt").read_text()


def test_an_event_that_was_cut_off_is_left_out(writer: RunWriter) -> None:
    writer.event(run_folder.STEP, step=1, loss=0.5)
    with (writer.run.folder / "events.jsonl").open("a") as file:
        file.write('{"event": "step", "lo')
    assert writer.run.losses() == [0.5]


def test_checkpoints_hold_the_recipe_and_come_in_order(writer: RunWriter) -> None:
    for step in (2, 10):
        path = writer.checkpoint(step, {"a": torch.full((2,), float(step))}, RECIPE)
    assert [path.name for path in writer.run.checkpoints] == [
        "toys-step000002.safetensors",
        "toys-step000010.safetensors",
    ]
    assert load_file(path)["a"].tolist() == [10, 10]
    assert read_recipe(path) == RECIPE
    assert [(event["step"], event["file"]) for event in writer.run.events()][-1] == (10, path.name)
    assert {file.suffix for file in path.parent.iterdir()} == {".safetensors"}


def test_a_second_run_of_the_name_is_counted_up(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        writer = RunWriter.create(tmp_path, "my run", {})
        writer.close()
        names.append(writer.run.name)
    assert names == ["my run", "my run-2", "my run-3"]
    assert {part.name for part in (tmp_path / "my run").iterdir() if part.is_dir()} == {"samples", "checkpoints"}


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not a training run.*run\.json"):
        _ = Run(tmp_path).about
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(TrainingError, match="not a training run"):
        _ = Run(tmp_path).about
    assert list(Run(tmp_path).events()) == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("storyboard", "storyboard"),
        (" my style ", "my style"),
        ("../../etc/passwd", "-..-etc-passwd"),
        ("a/b\\c:d", "a-b-c-d"),
        ("..hidden..", "hidden"),
        ("故事板", "故事板"),
        ("a" * 300, "a" * 100),
        ("故" * 100, "故" * 33),
        ("a" * 99 + ". b", "a" * 99),
    ],
)
def test_a_name_becomes_one_file_name(name: str, safe: str) -> None:
    assert safe_name(name) == safe
    assert safe_name(safe) == safe


@pytest.mark.parametrize("name", ["", " ", "...", "CON", "nul.txt"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(InContextError) as refused:
        safe_name(name)
    assert repr(name.strip())[1:-1] in str(refused.value)


def test_text_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for text in ("old", json.dumps({"故": 1})):
        write_atomic(path, text)
    assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_just_being_read_is_replaced_when_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, which refuses meanwhile; what cannot be replaced at all is still an error."""
    busy = BusyFile(monkeypatch, "replace")
    write_atomic(tmp_path / "process.json", "whole")
    assert (tmp_path / "process.json").read_text() == "whole"
    assert busy.refusals == 0
    busy.refusals = 1000
    with pytest.raises(PermissionError):
        write_atomic(tmp_path / "process.json", "never")
