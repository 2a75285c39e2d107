"""Requests from the user to a training: files in the run's folder, which survive a restart of whoever wrote them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from .run_folder import written

FOLDER = "requests"
KINDS = ("stop", "save", "sample")
END = "end"  # beside the requests: the user has the run ended by force


def add(run: Path, request: str) -> None:
    """Ask the trainer to ``stop``, ``save`` or ``sample`` after its current step.

    Raises:
        TrainingError: if the run's folder cannot be written.
    """
    with written(run):
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
    """Whether the user had the run ended by force."""
    return (run / FOLDER / END).exists()


def clear(run: Path) -> None:
    """Make the folder, without requests to an earlier process."""
    (run / FOLDER).mkdir(exist_ok=True)
    for name in (*KINDS, END):
        (run / FOLDER / name).unlink(missing_ok=True)
