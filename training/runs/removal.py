"""Delete a run: its checkpoints, samples, state and events, but not the LoRAs that were published from it."""

from __future__ import annotations

import shutil

from ...incontext.errors import TrainingError, explain_write_errors
from . import claims, monitor, supervise
from .run_folder import Run


def remove(run: Run) -> None:
    """Delete a run's folder.

    Meanwhile no other process can start, resume or settle it. run.json is deleted first, so that the remains of a failed
    deletion are no longer listed as a run.

    Raises:
        TrainingError: if the run is training, another process is starting or settling it, or a file cannot be deleted.
    """
    with claims.deciding(run.folder, claims.BRIEF):
        if is_at_work(run):
            raise TrainingError(f"{run.name} is training. Stop it before you delete it.")
        with explain_write_errors(run.folder, TrainingError):
            (run.folder / "run.json").unlink()
    shutil.rmtree(run.folder, ignore_errors=True)
    left = [path.name for path in run.folder.iterdir()] if run.folder.exists() else []
    if left:
        raise TrainingError(
            f"{run.name} is no longer listed, but {left[0]} in {run.folder} cannot be deleted. Another program may have it open; "
            "delete the folder by hand."
        )


def is_at_work(run: Run) -> bool:
    """Whether a process is training, preparing or watching the run."""
    return (
        supervise.find(run.folder) is not None
        or claims.is_attended(run.folder) is True
        or monitor.summary(run)["state"] == monitor.RUNNING
    )
