"""Two who want the same run at once: one gets it, the other is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.incontext.lora.save import save_new
from incontext_lora.tests.run_support import HOLD, LORA, RECIPE, Start, watch_to_end
from incontext_lora.training.runs import claims, monitor, run_folder, supervise
from incontext_lora.training.runs.run_folder import Run, RunWriter
from incontext_lora.training.sd_scripts import begin, settle
from incontext_lora.training.sd_scripts.machine import Machine


class TestTwoAtOnce:
    def test_of_many_resumes_one_starts_a_trainer(self, stopped: Run, machine: Machine) -> None:
        gate = threading.Barrier(6)

        def resume() -> Any:
            gate.wait()
            try:
                return begin.resume(stopped, machine)
            except TrainingError as error:
                return str(error)

        with ThreadPoolExecutor(6) as pool:
            results = [future.result() for future in [pool.submit(resume) for _ in range(6)]]
        processes = [result for result in results if not isinstance(result, str)]
        assert len(processes) == 1
        for said in (result for result in results if isinstance(result, str)):
            assert "still running" in said or "ended elsewhere" in said
        assert watch_to_end(stopped, processes[0]) == 0
        began = [event["segment"] for event in stopped.events() if event["event"] == run_folder.STARTED]
        assert began == [1, 2]
        assert settle.settle(stopped, machine.loras, 0).state == run_folder.FINISHED
        assert stopped.losses() == [1 / step for step in range(1, 13)]

    @pytest.mark.skipif(os.name == "nt", reason="the other process uses fcntl")
    def test_another_process_holds_it_too(
        self, stopped: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claims, "BRIEF", 0.1)
        other = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(stopped.folder / claims.LOCK)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(TrainingError, match="ended elsewhere"):
                begin.resume(stopped, machine)
        finally:
            other.communicate()
        process = begin.resume(stopped, machine)
        assert watch_to_end(stopped, process) == 0

    def test_a_run_that_is_about_to_end_is_waited_for(self, stopped: Run, machine: Machine) -> None:
        """A run is shown as stopped a moment before its watcher lets go of it."""
        held = threading.Event()

        def settle() -> None:
            with claims.deciding(stopped.folder):
                held.set()
                time.sleep(0.3)

        other = threading.Thread(target=settle)
        other.start()
        assert held.wait(10)
        assert watch_to_end(stopped, begin.resume(stopped, machine)) == 0
        other.join()

    def test_a_machine_without_locks_claims_the_segment(
        self, stopped: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from incontext_lora.incontext.files import file_lock

        monkeypatch.setattr(file_lock, "acquire", lambda file, shared=False: None)
        monkeypatch.setattr(begin, "_next_segment", lambda run: 2)
        (stopped.folder / "job-2").mkdir()
        with pytest.raises(TrainingError, match="Another process is already resuming"):
            begin.resume(stopped, machine)
        assert supervise.find(stopped.folder) is None

    def test_a_watcher_of_the_first_part_settles_nothing_of_the_second(self, stopped: Run, machine: Machine) -> None:
        process = begin.resume(stopped, machine)
        assert settle.settle(stopped, machine.loras, -9).state == run_folder.STARTED
        assert stopped.state == run_folder.STARTED
        assert watch_to_end(stopped, process) == 0

    def test_a_finished_run_that_was_not_settled_is_not_resumed(self, start: Start, machine: Machine) -> None:
        run, process = start()
        watch_to_end(run, process)
        with pytest.raises(TrainingError, match="is finished"):
            begin.resume(run, machine)
        assert (machine.loras / "toy.safetensors").exists()

    def test_one_checkpoint_is_put_there_once(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path, "used", {"recipe": RECIPE.to_json()})
        file = writer.checkpoint(3, LORA, RECIPE).name
        bare = save_new(writer.run.folder / "checkpoints", "bare-step000004", LORA, None).name
        writer.close()
        for name in (file, bare):
            with ThreadPoolExecutor(8) as pool:
                used = list(
                    pool.map(lambda _, name=name: monitor.use_checkpoint(writer.run, name, tmp_path / "l"), range(8))
                )
            assert len(set(used)) == 1
        assert sorted(path.name for path in (tmp_path / "l").iterdir()) == [bare, file]
