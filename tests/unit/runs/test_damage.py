"""Runs whose description, events or files are not as they should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.incontext.errors import InContextError
from incontext_lora.incontext.lora.header import header_digest
from incontext_lora.tests.run_support import watch_to_end
from incontext_lora.tests.sd_scripts_machine import safetensors
from incontext_lora.training.runs import monitor, run_folder, supervise
from incontext_lora.training.runs.event_tail import EventTail
from incontext_lora.training.runs.run_folder import Run, RunWriter
from incontext_lora.training.sd_scripts import begin
from incontext_lora.training.sd_scripts.machine import Machine

DAMAGED = [
    "[1]", "null", "{", "", "3", "[" * 100_000, '{"a":' * 100_000, '{"settings": {"steps": 1e999}}', '{"name": NaN}',
    '{"settings": []}', '{"settings": {"steps": "9"}}', '{"name": 3}', '{"name": "\\ud800"}', "\ufffe", " " * (5 << 20),
    '{"settings": {"steps": true}}', '{"trainer": null}', "9" * 5000, '{"settings": {"steps": ' + "9" * 30 + "}}",
]  # fmt: skip


class TestDamage:
    @pytest.mark.parametrize("text", DAMAGED, ids=lambda text: repr(text[:20]))
    def test_a_damaged_run_is_listed_as_damaged(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "run.json").write_text(text)
        shown = monitor.summary(Run(tmp_path))
        assert (shown["state"], shown["resumable"]) == (monitor.DAMAGED, False)
        assert "run.json cannot be" in shown["error"]
        json.dumps(shown, allow_nan=False)
        assert monitor.layout(Run(tmp_path)) is None

    @pytest.mark.parametrize("text", DAMAGED, ids=lambda text: repr(text[:20]))
    def test_it_is_not_resumed(self, stopped: Run, machine: Machine, text: str) -> None:
        (stopped.folder / "run.json").write_text(text)
        with pytest.raises(InContextError):
            begin.resume(stopped, machine)
        assert supervise.find(stopped.folder) is None

    @pytest.mark.parametrize(
        "line",
        [
            b"[1]", b"null", b'{"event": 3}', b'{"event": null}', b"[" * 100_000, b'{"event": "step"}', b"\xff\xfe",
            b'{"event": "step", "step": "1", "loss": 2}', b'{"event": "step", "step": 1, "loss": "x"}',
            b'{"event": "step", "step": 1, "loss": [1e999]}', b'{"event": "failed", "error": {"a": NaN}}',
            b'{"event": "step", "step": ' + b"9" * 40 + b"}", b'{"event": "step", "step": ' + b"9" * 5000 + b"}",
            b'{"event": "sample", "file": 3}', b'{"event": "phase", "phase": null}', b'{"event": "' + b"x" * (3 << 20) + b'"}',
        ],
        ids=lambda line: repr(line[:40]),
    )  # fmt: skip
    def test_a_damaged_event_is_left_out(self, tmp_path: Path, line: bytes) -> None:
        writer = RunWriter.create(tmp_path, "events", {"settings": {"steps": 3}})
        writer.event(run_folder.STARTED)
        writer.event(run_folder.STEP, step=1, loss=float("nan"), smoothed=0.5)
        writer.close()
        with (writer.run.folder / "events.jsonl").open("ab") as file:
            file.write(line + b"\n")
        writer = RunWriter(writer.run)
        writer.event(run_folder.STEP, step=2, loss=0.25)
        writer.event(run_folder.CANCELLED)
        writer.close()
        assert [event["event"] for event in writer.run.events()] == ["started", "step", "step", "cancelled"]
        assert writer.run.losses()[1:] == [0.25]
        assert writer.run.state == run_folder.CANCELLED
        assert json.loads(json.dumps(monitor.summary(writer.run), allow_nan=False))["step"] == 2
        steps, offset, more = [], 0, True
        while more:
            news = monitor.news(writer.run, offset)
            json.dumps(news, allow_nan=False)
            assert news["offset"] > offset, "the page would ask for ever"
            offset, more = news["offset"], news["more"]
            steps += news["points"]["step"]
        assert steps == [1, 2]
        assert [event["event"] for event in EventTail(writer.run)] == ["started", "step", "step", "cancelled"]

    def test_an_incomplete_line_is_skipped(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path, "endless", {})
        writer.event(run_folder.STEP, step=1, loss=1.0)
        writer.close()
        with (writer.run.folder / "events.jsonl").open("ab") as file:
            file.write(b'{"event": "' + b"x" * (7 << 20))
        asked, offset, more = 0, 0, True
        while more:
            news = monitor.news(writer.run, offset)
            asked, offset, more = asked + 1, news["offset"], news["more"]
            assert asked < 10
        assert [event["event"] for event in EventTail(writer.run)] == ["step"]


def _with(run: Run, change: Callable[[dict[str, Any]], None]) -> None:
    about = run.about
    change(about)
    (run.folder / "run.json").write_text(json.dumps(about))


class TestResume:
    """What a start would not do, a run.json cannot ask for."""

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda about: about["files"].update(network_module="/tmp/x.py"), "none of them"),
            (lambda about: about["files"].update(resume="/tmp/x"), "none of them"),
            (lambda about: about["files"].pop("ae"), "'ae' is missing"),
            (lambda about: about["files"].update(ae="/etc/passwd"), "none of ComfyUI's model folders"),
            (lambda about: about["files"].update(ae=about["files"]["t5xxl"]), "needs the FLUX autoencoder"),
            (lambda about: about["files"].update(ae=["x"]), "should be a text"),
            (lambda about: about.update(continue_from="/etc/passwd"), "none of ComfyUI's model folders"),
            (lambda about: about["settings"].update(steps=10**9), "Steps is 1000000000"),
            (lambda about: about["settings"].update(steps=True), "Steps is True"),
            (lambda about: about["settings"].update(rank=10**6), "Rank is 1000000"),
            (lambda about: about["settings"].update(learning_rate="1"), "Learning rate is '1'"),
            (lambda about: about["settings"].update(network_args="x"), "cannot be read"),
            (lambda about: about["settings"].update(optimiser="os.system"), "cannot be read"),
            (lambda about: about["settings"].update(steps=1), "is from step"),
            (lambda about: about.update(architecture="../x"), "no architecture"),
            (lambda about: about.update(dataset={"folder": "/nowhere", "digest": "x"}), "holds no dataset"),
            (lambda about: about.update(recipe=3), "should be an object"),
            (lambda about: about.update(digests={}), "none of ComfyUI's model folders"),
        ],
    )  # fmt: skip
    def test_a_resume_only_does_what_a_start_would_do(
        self, stopped: Run, machine: Machine, change: Callable[[dict[str, Any]], None], said: str
    ) -> None:
        _with(stopped, change)
        with pytest.raises(InContextError, match=said):
            begin.resume(stopped, machine)
        assert supervise.find(stopped.folder) is None
        assert stopped.state == run_folder.CANCELLED, "nothing changed"

    def test_files_in_comfyuis_folders_are_taken_from_older_runs(self, stopped: Run, machine: Machine) -> None:
        _with(stopped, lambda about: about.pop("digests"))
        models = Path(stopped.about["files"]["ae"]).parent
        process = begin.resume(stopped, replace(machine, models=(models,)))
        assert watch_to_end(stopped, process) == 0

    def test_another_file_of_the_name_is_noticed(self, stopped: Run, machine: Machine, tmp_path: Path) -> None:
        path = self.own_copy(stopped, tmp_path)
        path.write_bytes(path.read_bytes() + b"\0\0")
        with pytest.raises(InContextError, match="is not the file that"):
            begin.resume(stopped, machine)

    def test_the_files_go_through_preflight_again(self, stopped: Run, machine: Machine, tmp_path: Path) -> None:
        path = safetensors(self.own_copy(stopped, tmp_path), ("something.else",))
        _with(stopped, lambda about: about["digests"].update({str(path): header_digest(path)}))
        with pytest.raises(InContextError, match=r"needs the FLUX autoencoder|of an unknown kind"):
            begin.resume(stopped, machine)

    def own_copy(self, run: Run, folder: Path) -> Path:
        """An autoencoder of this test's own, as the run knows it."""
        path = folder / "ae-copy.safetensors"
        shutil.copyfile(run.about["files"]["ae"], path)
        _with(run, lambda about: about["files"].update(ae=str(path)))
        _with(run, lambda about: about["digests"].update({str(path): header_digest(path)}))
        return path
