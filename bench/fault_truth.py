"""What is true of a run, from its files and processes, beside what is said of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from ..incontext.lora.header import read_header
from ..training.runs import monitor, run_folder, supervise
from ..training.runs.run_folder import Run
from ..training.sd_scripts import settle
from .fault_keepers import Keeper

PATIENCE = 10.0  # seconds until the truth is said


def until(condition: Callable[[], object], seconds: float) -> float | None:
    """Seconds until it holds; None if it does not in time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.05)
    return time.monotonic() - began


def shown(run: Run) -> str:
    """What the monitor says of a run."""
    try:
        return monitor.summary(run)["state"]
    except OSError:
        return "gone"


def true_state(run: Run) -> set[str]:
    """What may be said of a run whose trainer or ComfyUI was killed, from its processes and files alone."""
    if supervise.members(run.folder):
        return {monitor.RUNNING}
    if settle._has_final(run):
        return {run_folder.FINISHED}
    return {run_folder.INTERRUPTED}


def half_files(keeper: Keeper) -> list[str]:
    """LoRA files that a list shows, and that are not whole."""
    from safetensors.torch import load_file

    listed = [path for folder in keeper.runs.glob("*") for path in Run(folder).checkpoints]
    found = []
    for path in [*listed, *keeper.loras.glob("*.safetensors")]:
        try:
            read_header(path)
            load_file(str(path))
        except Exception as error:
            found.append(f"{path.name}: {error}")
    return found


def orphans(runs: Path) -> list[int]:
    """Processes of runs of this folder that nothing knows of: no run of theirs is shown as running."""
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(supervise.MARK, "")
            lives = process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if lives and mark and Path(mark).parent == runs and shown(Run(Path(mark))) != monitor.RUNNING:
            found.append(process.pid)
    return found


def steps_of(run: Run) -> list[int]:
    return [event["step"] for event in run.events() if event["event"] == run_folder.STEP]


def kill(process: psutil.Process | subprocess.Popen[Any] | None) -> None:
    if process is None:
        return
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    except (ProcessLookupError, psutil.Error, subprocess.TimeoutExpired):
        pass
