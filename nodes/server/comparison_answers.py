"""What run_routes.py answers about comparisons of checkpoints. Loaded with the first question."""

from __future__ import annotations

from functools import lru_cache
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
    return {"comparison": _shown(folder, version), "version": version}


@lru_cache(maxsize=16)
def _shown(folder: Path, version: str) -> Json:
    """A comparison without its single pictures, which a page does not show."""
    return {name: value for name, value in read_comparison(folder).items() if name != "cells"}


def grid(run: str, file: str) -> Path:
    """
    Raises:
        TrainingError: if the run's comparison has no such picture.
    """
    folder = _folder(run)
    pictures = {path.name: path for path in folder.glob("grid-*.png")} if folder is not None else {}
    if file not in pictures:
        raise TrainingError(f"The comparison of {run!r} has no picture {file!r}. Reload the page.")
    return pictures[file]


def _folder(run: str) -> Path | None:
    return Store(host.comparisons_folder()).of_run(find_run(run).name)
