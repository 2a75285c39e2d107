"""Runs with the stand-in trainer that are stopped, or survive whoever started them."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.tests.run_support import Start, steps, until, watch_to_end
from incontext_lora.tests.sd_scripts_machine import small_dataset
from incontext_lora.training.runs import output, run_folder, stopping, supervise
from incontext_lora.training.runs.event_tail import EventTail
from incontext_lora.training.sd_scripts import begin, follow, settle, states
from incontext_lora.training.sd_scripts.machine import Machine


class TestStop:
    def test_a_stop_saves_and_the_run_resumes(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 30}, pause=0.05)
        until(lambda: 3 in steps(run))
        follow.stop(run, process)
        assert process.returncode == 75
        result = settle.settle(run, machine.loras, process.returncode, stopped=True)
        assert result.state == run_folder.CANCELLED
        done = steps(run)[-1]
        assert f"Resume it from step {done}" in result.message
        process = begin.resume(run, machine)
        assert watch_to_end(run, process) == 0
        assert settle.settle(run, machine.loras, 0).state == run_folder.FINISHED
        assert steps(run) == list(range(1, 31))
        assert json.loads((run.folder / "job-2" / "job.json").read_text())["first_step"] == done
        assert not (run.folder / "state").exists()

    def test_a_slow_step_is_waited_for(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        """A step that takes longer than saving is not cut off: the run ends by itself, with that step saved."""
        monkeypatch.setattr(stopping, "SAVING", 0.2)
        run, process = start({"steps": 50, "save_every": 0}, pause=0.8)
        until(lambda: steps(run))
        follow.stop(run, process)
        assert process.returncode == 75
        assert states.find_last(run) is not None

    def test_before_the_first_step_nothing_is_waited_for(
        self, start: Start, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While models are loaded there is nothing to save, however long it takes."""
        monkeypatch.setattr(stopping, "GRACE", 0.2)
        run, process = start(load=600)
        until(lambda: any(event.get("phase") == "loading the models" for event in run.events()))
        follow.stop(run, process)
        assert supervise.members(run.folder) == []
        result = settle.settle(run, machine.loras, process.returncode, stopped=True)
        assert (result.state, result.message) == (run_folder.CANCELLED, "Stopped before the first step.")

    def test_patience_follows_the_run(self) -> None:
        def step(seconds: float, per_step: float = 0.0) -> dict[str, Any]:
            return {"event": "step", "seconds": seconds, "seconds_per_step": per_step}

        loading = [{"event": "started"}, {"event": "phase", "phase": "loading the models", "seconds": 1.0}]
        training = [*loading, {"event": "phase", "phase": "training", "seconds": 400.0}]
        assert stopping.patience([]) == stopping.patience(loading) == stopping.patience(training) == stopping.GRACE
        slow = [*training, step(490.0, 90.0)]
        assert stopping.patience(slow) == stopping.SAVING + stopping.STEPS * 90
        sampled = [*slow, step(790.0, 100.0), step(880.0, 95.0)]  # the second took 300 s with a sample in it
        assert stopping.patience(sampled) == stopping.SAVING + stopping.STEPS * 300
        assert stopping.patience([*sampled, *loading]) == stopping.GRACE  # resumed: nothing is unsaved yet
        assert stopping.patience([*training, {"event": "step", "step": 1}]) == stopping.SAVING

    def test_a_trainer_that_ignores_the_request_is_ended(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 1000}, pause=0.05, ignore=True)
        until(lambda: steps(run))
        began = time.monotonic()
        follow.stop(run, process, patience=0.5)
        assert time.monotonic() - began < 5
        assert supervise.members(run.folder) == []
        assert settle.settle(run, machine.loras, process.returncode, stopped=True).state == run_folder.CANCELLED

    def test_a_second_cancel_ends_it_at_once(self, start: Start) -> None:
        run, process = start({"steps": 1000}, pause=0.05, ignore=True)
        until(lambda: steps(run))
        began = time.monotonic()
        follow.stop(run, process, insists=lambda: True)
        assert time.monotonic() - began < 5
        assert process.returncode is not None

    def test_children_that_left_the_group_are_ended_too(self, start: Start) -> None:
        run, process = start({"steps": 1000}, pause=0.05, fork=True)
        until(lambda: steps(run))
        child = next(int(line.split()[1]) for line in output.tail(run.folder) if line.startswith("child"))
        assert child in {member.pid for member in supervise.members(run.folder)}
        follow.stop(run, process, patience=5)
        until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)

    def test_orphans_of_a_killed_trainer_are_swept(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 1000}, pause=0.05, fork=True)
        until(lambda: steps(run))
        process.kill()
        process.wait()
        assert supervise.members(run.folder)
        assert supervise.sweep(machine.runs) == [run.folder]
        assert supervise.members(run.folder) == []


class TestSurvival:
    def test_a_killed_trainer_is_interrupted_and_resumes(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 20, "save_every": 4}, pause=0.05)
        until(lambda: 10 in steps(run))
        process.kill()
        process.wait()
        assert supervise.find(run.folder) is None
        ((swept, result),) = settle.sweep(machine.runs, machine.loras)
        assert (swept, result.state) == (run, run_folder.INTERRUPTED)
        assert "Resume it: it continues from step 8." in result.message
        process = begin.resume(run, machine)
        watch_to_end(run, process)
        assert settle.settle(run, machine.loras, 0).state == run_folder.FINISHED
        assert len(run.losses()) == 20

    def test_a_run_outlives_the_process_that_started_it_and_is_found_again(
        self, start: Start, machine: Machine
    ) -> None:
        run, _ = start({"steps": 40}, pause=0.05)
        found = supervise.find(run.folder)
        assert found is not None
        assert settle.sweep(machine.runs, machine.loras) == []  # it still runs
        assert os.getsid(found.pid) != os.getsid(0)
        assert follow.watch(run, None, EventTail(run), lambda event: None, pause=0.02) is None
        ((_, result),) = settle.sweep(machine.runs, machine.loras)
        assert result.state == run_folder.FINISHED
        assert result.lora is not None

    def test_a_reused_pid_is_not_taken_for_it(self, start: Start) -> None:
        run, process = start({"steps": 1000}, pause=0.05)
        record = run.folder / supervise.RECORD
        known = json.loads(record.read_text())
        record.write_text(json.dumps({**known, "birth": supervise.birth(os.getpid())}))
        assert supervise.find(run.folder) is None
        record.write_text(json.dumps(known))
        assert supervise.find(run.folder) is not None
        process.kill()

    def test_a_running_or_finished_run_is_not_resumed(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 1000}, pause=0.05)
        with pytest.raises(TrainingError, match="still running"):
            begin.resume(run, machine)
        follow.stop(run, process)
        finished, process = start()
        watch_to_end(finished, process)
        settle.settle(finished, machine.loras, 0)
        with pytest.raises(TrainingError, match="is finished"):
            begin.resume(finished, machine)

    def test_resuming_on_changed_data_is_refused(self, start: Start, machine: Machine, tmp_path: Path) -> None:
        run, process = start({"steps": 30}, pause=0.05)
        until(lambda: steps(run))
        follow.stop(run, process)
        (tmp_path / "sets" / "set-1" / "caption.txt").write_text("[TOY] Other. [SCENE-1] a [SCENE-2] b [SCENE-3] c")
        small_dataset(tmp_path / "sets", tmp_path / "datasets")
        with pytest.raises(TrainingError, match="has changed since"):
            begin.resume(run, machine)

    def test_a_half_written_state_is_not_resumed_from(self, start: Start) -> None:
        run, process = start({"steps": 1000, "save_every": 3}, pause=0.05)
        until(lambda: states.find_last(run))
        process.kill()
        process.wait()
        (run.folder / "state" / "step999999").mkdir()
        (run.folder / "state" / ".step000999.part").mkdir()
        saved = states.find_last(run)
        assert saved is not None
        assert saved[1] < 900

    def test_a_deleted_run_folder_is_reported(self, start: Start, machine: Machine) -> None:
        run, process = start({"steps": 1000}, pause=0.05)
        process.kill()
        process.wait()
        shutil.rmtree(run.folder)
        assert watch_to_end(run, process) == -9
        result = settle.settle(run, machine.loras, -9)
        assert result.state == run_folder.FAILED
        assert "is missing" in result.message

    def test_a_missing_description_of_the_run_is_reported(self, start: Start, machine: Machine) -> None:
        run, process = start()
        watch_to_end(run, process)
        (run.folder / "run.json").unlink()
        assert "is not a training run" in settle.settle(run, machine.loras, 0).message
