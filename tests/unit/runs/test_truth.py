"""What is said of a run follows from its files, its process and its locks."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests.run_support import FullDisk, Start, refuse, until, watch_to_end
from incontext_lora.training.runs import claims, monitor, output, run_folder, supervise
from incontext_lora.training.runs.run_folder import Run, RunWriter
from incontext_lora.training.sd_scripts import begin, data, follow, settle, states
from incontext_lora.training.sd_scripts.machine import Machine


class TestTruth:
    """What is said of a run follows from its files, its process and its locks, not from the time."""

    def state(self, run: Run) -> str:
        return monitor.summary(run)["state"]

    def test_of_a_killed_trainer(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 1000}, pause=0.05)
        assert self.state(run) == monitor.RUNNING
        with claims.attending(run.folder):  # as the node or the watcher does
            process.kill()
            process.wait()
            assert self.state(run) == monitor.RUNNING, "its end is about to be written"
        assert self.state(run) == run_folder.INTERRUPTED, "at once, though it spoke a moment ago"

    @pytest.mark.parametrize("told", [{}, {"fail": "training"}])
    def test_a_run_that_ended_unobserved(self, start: Start, machine: Machine, told: dict[str, Any]) -> None:
        run, process = start(**told)
        watch_to_end(run, process)
        before = self.state(run)
        settle.settle(run, machine.loras)
        assert self.state(run) in (before, run_folder.INTERRUPTED)
        assert before == (run_folder.INTERRUPTED if told else run_folder.FINISHED)

    def test_while_it_is_prepared(self, start: Start, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str] = []
        prepare = data.prepare
        monkeypatch.setattr(
            data,
            "prepare",
            lambda *rest: (seen.extend(self.state(Run(path)) for path in machine.runs.iterdir()), prepare(*rest))[1],
        )
        start()
        assert seen == [monitor.RUNNING]

    def test_whatever_the_clock_says(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path, "clock", {})
        with claims.attending(writer.run.folder):
            writer.event(run_folder.STARTED)
        writer.close()
        for moment in (0, time.time(), time.time() + 9e6):
            os.utime(writer.run.folder / "events.jsonl", (moment, moment))
            assert self.state(writer.run) == run_folder.INTERRUPTED

    def test_in_comfyui_itself(self, tmp_path: Path) -> None:
        """ComfyUI's process goes on when the training is over; the lock tells them apart."""
        writer = RunWriter.create(tmp_path, "in-host", {"trainer": "in-host"})
        with claims.attending(writer.run.folder):
            supervise.note(writer.run.folder, os.getpid(), supervise.HOST_RECORD)
            writer.event(run_folder.STARTED)
            assert self.state(writer.run) == monitor.RUNNING
        assert self.state(writer.run) == run_folder.INTERRUPTED
        writer.close()

    def test_an_end_that_the_disk_refused_is_written_when_there_is_space(
        self, tmp_path: Path, full_disk: FullDisk
    ) -> None:
        writer = RunWriter.create(tmp_path, "full", {"trainer": "in-host"})
        with claims.attending(writer.run.folder):
            writer.event(run_folder.STARTED)
            full_disk.on = True
            with pytest.raises(TrainingError, match="No space left"):
                writer.event(run_folder.STEP, step=1, loss=0.5)
            writer.end(run_folder.FAILED, error="the disk is full")
            writer.close()
        assert self.state(writer.run) == run_folder.INTERRUPTED
        full_disk.on = False
        until(lambda: self.state(writer.run) == run_folder.FAILED, 5)
        assert monitor.summary(writer.run)["error"] == "the disk is full"

    def test_a_lora_is_published_when_there_is_space(self, start: Start, machine: Machine, full_disk: FullDisk) -> None:
        run, process = start()
        watch_to_end(run, process)
        full_disk.on = True
        with pytest.raises(TrainingError, match="No space left"):
            settle.settle_soon(run, machine.loras, 0)
        assert self.state(run) == run_folder.FINISHED, "the trainer said so"
        full_disk.on = False
        until(lambda: run.state == run_folder.FINISHED, 5)
        assert [path.name for path in machine.loras.iterdir()] == ["toy.safetensors"], "once, though it was tried again"

    def test_the_last_words_were_lost(self, start: Start, machine: Machine) -> None:
        """The disk was full when the trainer wrote that it is done; its LoRA is there."""
        run, process = start()
        watch_to_end(run, process)
        lines = (run.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
        (run.folder / "events.jsonl").write_bytes(b"".join(lines[:-1]) + b'{"event": "en')
        result = settle.settle(run, machine.loras, 0)
        assert (result.state, result.lora) == (run_folder.FINISHED, machine.loras / "toy.safetensors")

    def test_what_a_trainer_forked_ends_with_it(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 1000}, pause=0.05, fork=True)
        until(lambda: [line for line in output.tail(run.folder) if line.startswith("child")])
        child = next(int(line.split()[1]) for line in output.tail(run.folder) if line.startswith("child"))
        process.kill()
        settle.settle(run, machine.loras, watch_to_end(run, process))
        until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)

    def test_a_run_that_the_user_ended_was_not_killed(self, start: Start, machine: Machine) -> None:
        """Whoever watches its process may be the first to write down its end."""
        run, process = start({"steps": 1000}, pause=0.05, ignore=True)
        until(lambda: states.find_last(run))
        follow.stop(run, None, patience=0)
        result = settle.settle(run, machine.loras, watch_to_end(run, process))
        assert result.state == run_folder.CANCELLED
        assert "killed" not in result.message
        again = begin.resume(run, machine)
        again.kill()
        again.wait()
        assert settle.settle(run, machine.loras, -9).state == run_folder.INTERRUPTED, "nobody ended it this time"


class TestKilledWhileItWrites:
    def test_half_a_checkpoint_is_not_shown_and_goes(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 1000}, pause=0.05)
        process.kill()
        code = watch_to_end(run, process)
        for name in (".toy-step000002.part.safetensors", "..toy-step000002.part.converted.safetensors"):
            (run.folder / "checkpoints" / name).write_bytes(b"half")
        (run.folder / "state" / ".step000002.part").mkdir(parents=True)
        assert run.checkpoints == []
        assert monitor.checkpoints(run) == []
        assert settle.settle(run, machine.loras, code).state == run_folder.INTERRUPTED
        assert list((run.folder / "checkpoints").iterdir()) == []
        assert not list((run.folder / "state").glob(".*"))

    def test_comfyui_is_killed_before_it_knows_the_pid(
        self, start: Start, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The trainer trains, and nobody noted who it is."""

        class Killed(BaseException):
            pass

        started: list[subprocess.Popen[bytes]] = []
        begin = supervise.start_detached

        def killed(*rest: Any) -> Any:
            started.append(begin(*rest))
            raise Killed

        monkeypatch.setattr(supervise, "start_detached", killed)
        monkeypatch.setattr(RunWriter, "end", lambda *rest, **values: None)
        with pytest.raises(Killed):
            start({"steps": 1000}, pause=0.05)
        run = Run(next(machine.runs.glob("toy")))
        until(lambda: any(event["event"] == run_folder.STEP for event in run.events()))
        assert monitor.summary(run)["state"] == monitor.RUNNING
        found = supervise.find(run.folder)
        assert found is not None
        assert found.pid == started[0].pid
        assert settle.sweep(machine.runs, machine.loras) == [], "it goes on"
        follow.stop(run, None)
        started[0].wait(10)
        assert settle.settle(run, machine.loras, None, stopped=True).state == run_folder.CANCELLED
        assert supervise.find(run.folder) is None

    def test_a_trainer_that_cannot_be_started_leaves_no_record(
        self, start: Start, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervise, "start_detached", refuse)
        with pytest.raises(TrainingError, match="cannot be started"):
            start()
        run = Run(next(machine.runs.glob("toy")))
        assert (run.state, (run.folder / supervise.RECORD).exists()) == (run_folder.FAILED, False)
