"""Install the trainer from the interface: `run.py trainer` in a process of its own, with its output in a file.

It continues when ComfyUI is restarted. Only a click starts it, and no part of the command comes from a page.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...incontext.errors import TrainingError
from ..runs import output, supervise
from ..runs.process import start_detached
from . import environment, fit

RECORD = "setting-up.json"
LOG = "setting-up.txt"
INSTALL, CHECK = "install", "check"

_lock = threading.Lock()


def command(action: str) -> tuple[str, ...]:
    """The command for an action.

    Raises:
        TrainingError: if the action is neither ``install`` nor ``check``.
    """
    if action not in (INSTALL, CHECK):
        raise TrainingError(f"The trainer has no action {action!r}. Choose {INSTALL} or {CHECK}.")
    return (sys.executable, str(Path(__file__).parents[2] / "run.py"), "trainer", action)


def begin(what: Sequence[str], comfyui: Path, folder: Path) -> None:
    """Start a command from `command`. Its output goes to ``LOG`` in the trainer's folder.

    Raises:
        TrainingError: if one is already running, or it cannot be started.
    """
    with _lock:
        if is_busy(folder):
            raise TrainingError("The trainer is already being installed or checked; its log is below.")
        settings = {**os.environ, "COMFYUI_PATH": str(comfyui), "COMFYUI_PYTHON": sys.executable}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / LOG).open("wb") as log:
                process = start_detached(
                    tuple(what), folder, {**settings, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}, log
                )
        except OSError as error:
            raise TrainingError(f"The installation cannot be started: {error}. Check {folder}.") from error
        supervise.note(folder, process.pid, RECORD)
    threading.Thread(target=process.wait, name="incontext-lora trainer", daemon=True).start()


def is_busy(folder: Path) -> bool:
    return supervise.find(folder, RECORD) is not None


def state(host: Mapping[str, object], has_driver: bool, folder: Path) -> dict[str, Any]:
    """Whether the trainer is installed, and the progress of an installation.

    Args:
        host: ComfyUI's torch, as `fit.flavour` takes it.
        has_driver: whether an NVIDIA driver is installed.

    Returns:
        installed, problem (a sentence if it is not), space (a sentence if the disk is too small), folder, checkout,
        left_out (requirement → reason), download and disk (GB for an installation), busy, log (the last lines of the last
        installation or check).
    """
    problem, checkout, left_out = "", "", {}
    try:
        trainer = environment.find(folder)
        checkout, left_out = str(trainer.checkout), dict(trainer.left_out or {})
    except environment.TrainerNotInstalled as error:
        problem = str(error)
    fitting = fit.flavour(host, has_driver)
    download, disk = (round(size / fit.GIGABYTE) for size in fitting.size)
    return {
        "installed": not problem,
        "problem": problem,
        "space": fit.space_problem(folder, fitting) if problem else "",
        "folder": str(folder),
        "checkout": checkout,
        "left_out": left_out,
        "download": download,
        "disk": disk,
        "busy": is_busy(folder),
        "log": output.last_lines(folder / LOG, 200),
    }
