"""What run_routes.py answers about comparisons of checkpoints. Loaded with the first question."""

from __future__ import annotations

from pathlib import Path

from ...incontext.errors import TrainingError
from ...incontext.evaluate.comparison import FILE
from ...incontext.evaluate.store import Store, read_comparison
from .. import host
from .routes import Json
from .run_answers import find_run


def comparison(run: str) -> Json:
    """``{"comparison": the newest of a run's checkpoints, or None, "version": another one when it is written again}``"""
    folder = _folder(run)
    if folder is None:
        return {"comparison": None, "version": ""}
    version = host.file_stamp(folder / FILE)
    found = read_comparison(folder)
    return {"comparison": {key: value for key, value in found.items() if key != "cells"}, "version": version}


def grid(run: str, file: str) -> Path:
    """
    Raises:
        TrainingError: where the run's comparison has no such picture.
    """
    folder = _folder(run)
    pictures = {path.name: path for path in folder.glob("grid-*.png")} if folder is not None else {}
    if file not in pictures:
        raise TrainingError(f"The comparison of {run!r} has no picture {file!r}. Reload the page.")
    return pictures[file]


def _folder(run: str) -> Path | None:
    return Store(host.comparisons_folder()).of_run(find_run(run).name)
