"""run.json: what a run is. Standard library only: `run.py` reads it before it sets anything up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...incontext.errors import TrainingError
from ...incontext.files import strict_json


def read_about(run: Path) -> dict[str, Any]:
    """The contents of a run's run.json.

    Raises:
        TrainingError: if the folder is not a run, or the file is damaged.
    """
    try:
        return strict_json.read_object(run / "run.json")
    except (OSError, strict_json.JsonError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise TrainingError(
            f"{run} is not a training run: run.json cannot be read, {reason}. Choose a folder with a complete run.json."
        ) from error
