"""Runs of the stand-in trainer: one that is started, one that was stopped, and a disk that can be full."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from incontext_lora.tests.dataset_sets import folder_sets
from incontext_lora.tests.run_support import FullDisk, Start, until
from incontext_lora.tests.sd_scripts_machine import flux_files, flux_order, small_dataset, stand_in_machine
from incontext_lora.training.runs import run_folder, supervise
from incontext_lora.training.runs.run_folder import Run
from incontext_lora.training.sd_scripts import begin, follow, settle
from incontext_lora.training.sd_scripts.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return stand_in_machine(tmp_path / "here", tmp_path / "ComfyUI")


@pytest.fixture
def start(tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    dataset = small_dataset(folder_sets(tmp_path / "sets", 3), tmp_path / "datasets")
    files = flux_files(tmp_path / "models")
    runs: list[Run] = []

    def start_run(changed: dict[str, Any] | None = None, **told: Any) -> tuple[Run, subprocess.Popen[bytes]]:
        monkeypatch.setenv("STAND_IN", json.dumps(told))
        run, process = begin.start(flux_order(dataset, files, **(changed or {})), machine)
        runs.append(run)
        return run, process

    yield start_run
    for run in runs:
        supervise.kill(run.folder)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 12 steps that was stopped and can be resumed."""
    base = tmp_path_factory.mktemp("template")
    machine = stand_in_machine(base / "here", base / "ComfyUI")
    dataset = small_dataset(folder_sets(base / "sets", 3), base / "datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STAND_IN", json.dumps({"pause": 0.05}))
        run, process = begin.start(flux_order(dataset, flux_files(base / "models"), steps=12), machine)
    until(lambda: any(event["event"] == run_folder.STEP for event in run.events()))
    follow.stop(run, process)
    assert settle.settle(run, machine.loras, process.returncode, stopped=True).state == run_folder.CANCELLED
    return run.folder


@pytest.fixture
def stopped(template: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Such a run, of one test's own."""
    monkeypatch.setenv("STAND_IN", json.dumps({"pause": 0.02}))
    run = Run(machine.runs / template.name)
    shutil.copytree(template, run.folder)
    yield run
    supervise.kill(run.folder)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    monkeypatch.setattr(run_folder, "AGAIN", 0.05)
    return FullDisk(monkeypatch)
