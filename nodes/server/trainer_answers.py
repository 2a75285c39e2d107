"""What run_routes.py answers about the sd-scripts trainer. Loaded with the first question."""

from __future__ import annotations

import shutil

import torch

from ...incontext.errors import TrainingError
from ...training.sd_scripts import environment, installing, processes
from ...training.sd_scripts.processes import Processes
from .. import host
from .routes import Json

INSTALL = installing.INSTALL


def trainer() -> Json:
    ours = {
        "torch": torch.__version__,
        "torchvision": _torchvision(),
        "cuda": torch.version.cuda or "",
        "gpu": torch.cuda.is_available(),
    }
    folder = environment.trainer_folder()
    kept, problem = Processes(), ""
    try:
        kept = Processes.load(folder / processes.FILE)
    except TrainingError as error:
        problem = str(error)
    return {
        **installing.state(ours, shutil.which("nvidia-smi") is not None, folder),
        "cards": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "processes": {name: getattr(kept, name) for name in processes.SETTABLE},
        "processes_problem": problem,
    }


def _torchvision() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("torchvision")
    except PackageNotFoundError:
        return ""


def set_up(action: str) -> Json:
    installing.begin(installing.command(action), host.comfyui_folder(), environment.trainer_folder())
    return trainer()


def set_processes(values: Json) -> Json:
    """Set how many processes train together, from the next training on.

    Raises:
        TrainingError: if they are not such values, or contradict each other.
    """
    path = environment.trainer_folder() / processes.FILE
    try:
        kept = Processes.load(path)
    except TrainingError:  # the new values take the place of the unreadable ones
        kept = Processes()
    kept.changed(values).save(path)
    return trainer()
