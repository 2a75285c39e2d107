"""Saved states of a run, from which it can be resumed."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ...incontext.files import strict_json
from ...incontext.files.strict_json import JsonError, field
from ..runs.run_folder import Run

STATE = "state"  # folder in the run's


def find_last(run: Run) -> tuple[Path, int] | None:
    """The newest complete state and its step. A state that is still being written has another name."""
    for folder in sorted((run.folder / STATE).glob("step*"), reverse=True):
        with contextlib.suppress(OSError, JsonError):
            step = field(strict_json.read_object(folder / "progress.json"), "step", int)
            if step >= 0:
                return folder, step
    return None


def remove_unfinished(run: Run) -> None:
    """Remove checkpoints and states that a killed trainer left incomplete. A leftover only takes up space."""
    for path in (run.folder / "checkpoints").glob(".*.safetensors"):
        with contextlib.suppress(OSError):
            path.unlink()
    for folder in (run.folder / STATE).glob(".*.part"):
        shutil.rmtree(folder, ignore_errors=True)
