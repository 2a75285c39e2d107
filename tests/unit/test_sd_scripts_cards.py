"""Two trainings on one graphics card: said, waited for, or started anyway; real processes stand for other trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from incontext_lora.incontext.errors import TrainingError
from incontext_lora.training.runs import cards, run_folder, supervise
from incontext_lora.training.runs.choices import WhenBusy
from incontext_lora.training.runs.run_folder import Run, RunWriter
from incontext_lora.training.sd_scripts.environment import Trainer
from incontext_lora.training.sd_scripts.machine import Machine
from incontext_lora.training.sd_scripts.processes import Processes

Other = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    """Another training: its run's name, its cards, its kind of record."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, on: list[str] | None, record: str = supervise.RECORD) -> subprocess.Popen[bytes]:
        process = subprocess.Popen((sys.executable, "-c", "import time; time.sleep(60)"))
        started.append(process)
        writer = RunWriter.create(tmp_path, name, {})
        writer.event(run_folder.STARTED)
        writer.close()
        supervise.note(writer.run.folder, process.pid, record, on)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def names(runs: Path, on: list[str] | None) -> list[str]:
    return [run.name for run in cards.occupants(runs, on)]


class TestNames:
    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            ({}, ["0", "1"]),
            ({"CUDA_VISIBLE_DEVICES": "3,1"}, ["3", "1"]),
            ({"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}, ["GPU-a", "GPU-b"]),
            ({"HIP_VISIBLE_DEVICES": "1,0"}, ["1", "0"]),
            ({"CUDA_VISIBLE_DEVICES": "2,0", "HIP_VISIBLE_DEVICES": "1,3"}, ["2", "0"]),
        ],
    )
    def test_cards_are_named_as_the_machine_does(self, environment: dict[str, str], expected: list[str]) -> None:
        assert cards.card_names([0, 1], environment) == expected

    def test_a_training_takes_a_card_for_each_process_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2,3")
        folder = Path("x")

        def of(processes: Processes, on_cpu: bool = False) -> list[str] | None:
            return Machine(Trainer(folder, folder), folder, folder, folder, folder, processes, on_cpu=on_cpu).cards

        assert of(Processes()) == ["1"]
        assert of(Processes(4, 2, 0, "a")) == ["1", "2"]
        assert of(Processes(), on_cpu=True) == []
        assert of(Processes(cpu=True)) == []
        assert of(Processes(config="x")) is None


class TestOccupants:
    def test_the_same_card_counts_and_another_does_not(self, other: Other, tmp_path: Path) -> None:
        other("first", ["0"])
        other("second", ["1", "2"])
        assert names(tmp_path, ["0"]) == ["first"]
        assert names(tmp_path, ["2"]) == ["second"]
        assert names(tmp_path, ["0", "1"]) == ["first", "second"]
        assert names(tmp_path, ["3"]) == []
        assert names(tmp_path, []) == [], "processors take no card"
        assert names(tmp_path, None) == ["first", "second"]

    def test_cards_that_are_not_known_may_be_the_same(self, other: Other, tmp_path: Path) -> None:
        other("earlier version", None)
        other("on processors", [])
        assert names(tmp_path, ["0"]) == ["earlier version"]
        assert names(tmp_path, None) == ["earlier version"]
        assert names(tmp_path, []) == []

    def test_what_is_over_counts_no_longer(self, other: Other, tmp_path: Path) -> None:
        process = other("killed", ["0"])
        other("in ComfyUI", ["0"], supervise.HOST_RECORD)
        assert names(tmp_path, ["0"]) == ["killed", "in ComfyUI"]
        process.kill()
        process.wait()
        assert names(tmp_path, ["0"]) == ["in ComfyUI"]
        writer = RunWriter(Run(tmp_path / "in ComfyUI"))
        writer.event(run_folder.FINISHED)  # the ComfyUI goes on
        writer.close()
        assert names(tmp_path, ["0"]) == []

    def test_this_process_does_not_wait_for_itself(self, other: Other, tmp_path: Path) -> None:
        other("mine", ["0"], supervise.HOST_RECORD)
        supervise.note(tmp_path / "mine", os.getpid(), supervise.HOST_RECORD, ["0"])
        assert names(tmp_path, ["0"]) == []

    def test_a_started_run_notes_its_cards(self, tmp_path: Path) -> None:
        launch = supervise.Launch((sys.executable, "-c", ""), dict(os.environ), tmp_path, ["1"])
        supervise.start(launch, tmp_path).wait()
        assert json.loads((tmp_path / supervise.RECORD).read_text())["cards"] == ["1"]


class TestClaim:
    def test_it_says_so(self, other: Other, tmp_path: Path) -> None:
        other("long one", ["0"])
        with pytest.raises(TrainingError, match=r"long one is still training on the graphics card.*Choose 'wait'"):
            cards.claim(tmp_path, ["0"], WhenBusy.SAY)
        cards.claim(tmp_path, ["1"], WhenBusy.SAY)
        cards.claim(tmp_path, ["0"], WhenBusy.ANYWAY)

    def test_it_waits_until_the_card_is_free(self, other: Other, tmp_path: Path) -> None:
        first, second = other("a", ["0"]), other("b", ["0"])
        said: list[str] = []

        def go_on() -> None:
            ended = first if first.poll() is None else second
            ended.kill()
            ended.wait()

        cards.claim(tmp_path, ["0"], WhenBusy.WAIT, go_on, said.append, pause=0)
        assert said == [f"waiting for {name}, which trains on the same graphics card" for name in ("a", "b")]
        assert first.poll() is not None
        assert second.poll() is not None

    def test_waiting_can_be_cancelled(self, other: Other, tmp_path: Path) -> None:
        other("a", ["0"])

        def cancel() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cards.claim(tmp_path, ["0"], WhenBusy.WAIT, cancel)

    def test_of_many_that_start_at_once_one_gets_the_card(self, other: Other, tmp_path: Path) -> None:
        """From the look whether the card is free until the process is noted, nobody else starts."""
        gate = threading.Barrier(4)

        def start(number: int) -> str:
            gate.wait()
            try:
                with cards.claim(tmp_path, ["0"], WhenBusy.SAY):
                    time.sleep(0.1)  # the data is being prepared
                    other(f"run {number}", ["0"])
            except TrainingError as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(start, range(4)))
        assert said.count("") == 1
        assert len(names(tmp_path, ["0"])) == 1
        assert all("is still training" in text for text in said if text)

    def test_a_starting_run_is_waited_for_only_within_the_patience(self, tmp_path: Path) -> None:
        said: list[str] = []
        with cards.claim(tmp_path, ["0"], WhenBusy.SAY):
            with pytest.raises(TrainingError, match="is just starting"):
                cards.claim(tmp_path, ["0"], WhenBusy.WAIT, say=said.append, pause=0.01, patience=0.05)
            cards.claim(tmp_path, [], WhenBusy.SAY)
            cards.claim(tmp_path, ["0"], WhenBusy.ANYWAY)
        cards.claim(tmp_path, ["0"], WhenBusy.SAY).close()
        assert said == ["waiting for another training, which is just starting"]
