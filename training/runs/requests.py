"""The user's requests to a training: files in the run's folder, so that they survive a restart of ComfyUI."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ...incontext.errors import TrainingError, explain_write_errors

FOLDER = "requests"
KINDS = ("stop", "save", "sample")
END = "end"  # a file beside the requests: the run is being ended by force


def add(run: Path, request: str) -> None:
    """Ask the trainer to ``stop``, ``save`` or ``sample`` after its current step.

    Raises:
        TrainingError: if the run's folder cannot be written.
    """
    with explain_write_errors(run, TrainingError):
        (run / FOLDER).mkdir(exist_ok=True)
        (run / FOLDER / request).touch()


def take(run: Path) -> frozenset[str]:
    """The requests since the last call."""
    taken = set()
    for name in KINDS:
        with contextlib.suppress(OSError):
            (run / FOLDER / name).unlink()
            taken.add(name)
    return frozenset(taken)


def is_ended(run: Path) -> bool:
    """Whether the run was ended by force at the user's request."""
    return (run / FOLDER / END).exists()


def clear(run: Path) -> None:
    """Create the folder, and remove requests to an earlier process.

    Raises:
        OSError: if it cannot be written.
    """
    (run / FOLDER).mkdir(exist_ok=True)
    for name in (*KINDS, END):
        (run / FOLDER / name).unlink(missing_ok=True)
