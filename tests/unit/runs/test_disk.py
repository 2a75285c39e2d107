"""Runs on a disk that is full, not writable, or gone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from incontext_lora.incontext.errors import InContextError, TrainingError
from incontext_lora.tests.run_support import LORA, RECIPE, Start, refuse
from incontext_lora.training.runs import claims, monitor, requests, run_folder
from incontext_lora.training.runs.run_folder import RunWriter
from incontext_lora.training.sd_scripts import begin
from incontext_lora.training.sd_scripts.machine import Machine


class TestDisk:
    def test_a_run_that_cannot_be_made_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(TrainingError, match="cannot be written"):
            RunWriter.create(tmp_path / "file" / "runs", "x", {})
        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(TrainingError, match="No space left on device"):
            RunWriter.create(tmp_path / "runs", "x", {})
        assert list((tmp_path / "runs").iterdir()) == []

    @pytest.mark.parametrize("function", ["replace", "fsync", "link"])
    def test_a_checkpoint_that_cannot_be_used_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
    ) -> None:
        writer = RunWriter.create(tmp_path, "used", {"recipe": RECIPE.to_json()})
        file = writer.checkpoint(3, LORA, RECIPE).name
        writer.close()
        monkeypatch.setattr(os, function, refuse)
        if function == "replace":
            monkeypatch.setattr(os, "link", refuse)
        if function == "link":  # a file system without links; then it is renamed
            assert monitor.use_checkpoint(writer.run, file, tmp_path / "loras").name == file
            return
        with pytest.raises(InContextError, match="No space left on device"):
            monitor.use_checkpoint(writer.run, file, tmp_path / "loras")
        assert list((tmp_path / "loras").iterdir()) == []

    def test_a_folder_that_vanished_is_reported(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 1000}, pause=0.05)
        process.kill()
        process.wait()
        shutil.rmtree(run.folder)
        for act in (
            lambda: begin.resume(run, machine),
            lambda: requests.add(run.folder, "stop"),
            lambda: monitor.use_checkpoint(run, "x.safetensors", machine.loras),
            lambda: RunWriter(run),
        ):
            with pytest.raises(InContextError):
                act()

    def test_a_step_that_cannot_be_written_ends_the_line(self, tmp_path: Path) -> None:
        """What a full disk leaves of a line does not swallow the next one."""
        writer = RunWriter.create(tmp_path, "part", {})
        whole = writer._events

        class Partly:
            def write(self, data: bytes) -> int:
                return whole.write(data[: len(data) // 2])

        writer._events = Partly()  # type: ignore[assignment]
        with pytest.raises(TrainingError, match="No space left"):
            writer.event(run_folder.STEP, step=1, loss=1.0)
        writer._events = whole
        writer.event(run_folder.STEP, step=2, loss=0.5)
        writer.close()
        assert writer.run.losses() in ([0.5], []), "the line before is lost"
        writer = RunWriter(writer.run)
        writer.event(run_folder.CANCELLED)
        writer.close()
        assert writer.run.state == run_folder.CANCELLED


def test_an_end_that_is_written_while_a_run_is_looked_at_is_shown_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its watcher writes down the end and goes, between reading the files and asking for him."""
    writer = RunWriter.create(tmp_path, "ends", {"trainer": "sd-scripts", "settings": {"steps": 9}})
    writer.event("started", steps=9)
    writer.event("ended", outcome="stopped")

    def gone(run: Path) -> bool:
        if writer.run.state == run_folder.STARTED:
            writer.event(run_folder.CANCELLED, error="Resume it from step 3.")
        return False

    monkeypatch.setattr(claims, "is_attended", gone)
    shown = monitor.summary(writer.run)
    writer.close()
    assert (shown["state"], shown["error"]) == ("cancelled", "Resume it from step 3.")
