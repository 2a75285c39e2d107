"""The options of `run.py train`. Standard library only: `run.py` reads them before it sets anything up."""

from __future__ import annotations

import argparse
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from ...incontext.errors import TrainingError
from ..runs.choices import WhenBusy
from .architectures import ARCHITECTURES
from .presets import OFFICIAL, PRESETS
from .settings import SdSettings


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
