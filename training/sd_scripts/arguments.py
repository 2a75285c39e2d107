"""The options of `run.py train`. Standard library only: `run.py` reads them before it sets anything up."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from ...incontext.dataset.manifest import Dataset
from ...incontext.errors import TrainingError
from ...incontext.files.names import as_path
from ...incontext.lora.recipe_file import read_recipe
from ..runs.about import read_about
from ..runs.choices import WhenBusy
from . import preflight
from .architectures import ARCHITECTURES, architecture
from .presets import OFFICIAL, PRESETS
from .settings import SdSettings

MODEL_FOLDERS = ("diffusion_models", "unet", "checkpoints", "text_encoders", "clip", "vae")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="run.py train",
        description="Train without the browser: the same runs in the same folders as from the node.",
        allow_abbrev=False,
    )
    made.add_argument("--dataset", type=Path, help="folder that Build Dataset made")
    made.add_argument("--architecture", choices=ARCHITECTURES, help="the model family")
    made.add_argument("--model", help="the diffusion model: a path, or a name in ComfyUI's folders")
    made.add_argument("--files", nargs="*", default=[], help="text encoders and autoencoder, in any order")
    made.add_argument("--preset", choices=PRESETS, default=OFFICIAL)
    made.add_argument("--name", help="name of the run and the LoRA (default: the dataset's)")
    made.add_argument("--continue", dest="weights", type=Path, metavar="LORA", help="train this LoRA further")
    made.add_argument("--resume", type=Path, metavar="RUN", help="resume a run that was stopped or interrupted")
    made.add_argument(
        "--when-busy",
        choices=[each.value for each in WhenBusy],
        default=WhenBusy.SAY.value,
        help="what to do if another training is using the graphics card (default: %(default)s)",
    )
    _add_processes(
        made.add_argument_group("several graphics cards", "the defaults are set in the monitor's tab Trainer")
    )
    made.add_argument("--comfyui", type=Path, required=True, help=argparse.SUPPRESS)
    made.add_argument("--models", type=Path, nargs="*", default=[], help=argparse.SUPPRESS)
    made.add_argument("--output", type=Path, required=True, help="ComfyUI's output folder (run.py gives it)")
    for field in fields(SdSettings):
        default = getattr(SdSettings(), field.name)
        option = f"--{field.name.replace('_', '-')}"
        made.add_argument(option, dest=f"set_{field.name}", help="overrides the preset", **_kind(default))
    return made


def require_order(options: argparse.Namespace) -> None:
    """
    Raises:
        TrainingError: if the dataset, the architecture or the model is missing.
    """
    missing = [name for name in ("dataset", "architecture", "model") if getattr(options, name) is None]
    if missing:
        raise TrainingError(f"--{' and --'.join(missing)} must be given, unless --resume names a run.")


def require_files(options: argparse.Namespace) -> None:
    """Check the files that the options name, as far as they can be found without ComfyUI.

    Raises:
        InContextError: if the run, the dataset or a LoRA cannot be used, or the model files do not make a model.
    """
    if options.resume is not None:
        read_about(as_path(str(options.resume)).resolve())
        return
    Dataset.load(as_path(str(options.dataset)).resolve())
    if options.weights:
        read_recipe(as_path(str(options.weights)).resolve())
    names = [options.model, *options.files]
    with contextlib.suppress(ModelNotFound):  # ComfyUI's folders may have it, which are known after the set-up
        model, *others = [find_model(name, []) for name in names]
        preflight.assign(architecture(options.architecture), model, others)
    for name in names:
        if as_path(name).is_absolute():
            find_model(name, [])


class ModelNotFound(TrainingError):
    """A model file is neither a path nor a name in the model folders."""


def find_model(name: str, roots: Sequence[Path]) -> Path:
    """Find a model file by its path, or by its name in the model folders of ``roots``.

    Raises:
        ModelNotFound: if there is no such file.
    """
    with contextlib.suppress(OSError, ValueError):  # the name may not be a valid path
        if as_path(name).is_file():
            return as_path(name).resolve()
    for root in roots:
        for folder in MODEL_FOLDERS:
            if (root / folder / name).is_file():
                return (root / folder / name).resolve()
    raise ModelNotFound(f"There is no model file {name!r}. Give its path, or its name in ComfyUI's models folder.")


def _add_processes(group: Any) -> None:
    group.add_argument(
        "--processes", type=int, metavar="NUMBER", help="processes on all machines together, one per card"
    )
    group.add_argument(
        "--machines",
        type=int,
        metavar="NUMBER",
        help="run this command on each machine, with the dataset on a disk they share",
    )
    group.add_argument("--machine-rank", type=int, metavar="NUMBER", help="number of this machine; the first is 0")
    group.add_argument("--main-address", metavar="HOST", help="address of the first machine, as the others reach it")
    group.add_argument("--main-port", type=int, metavar="NUMBER", help="a free port of the first machine")


def _kind(default: Any) -> dict[str, Any]:
    """Arguments of `add_argument` for a setting with this default."""
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction, "default": None}
    if isinstance(default, Enum):
        return {"choices": [each.value for each in type(default)]}
    return {"type": type(default), "metavar": "TEXT" if isinstance(default, str) else "NUMBER"}
