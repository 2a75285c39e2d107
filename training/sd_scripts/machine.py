"""Paths and devices of this machine, and what it must have before a training."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ...incontext.errors import TrainingError
from ...incontext.files.atomic import rename_over
from ..runs.cards import card_names
from . import launch
from .architectures import Architecture
from .environment import LONGEST_PATH, Trainer, long_paths_enabled
from .processes import Processes
from .settings import Device


@dataclass(frozen=True)
class Machine:
    """Paths and devices of this machine.

    Attributes:
        trainer: the installed trainer.
        runs: folder of all runs.
        loras: folder of finished LoRAs.
        comfyui: ComfyUI's folder, which has the tokenizers.
        tokenizers: folder to which they are copied under the trainer's names.
        processes: how many processes train together.
        runner: the script that the trainer's interpreter runs.
        on_cpu: whether to train on the processor.
        device: the graphics card's kind, if ``on_cpu`` is False.
        models: folders of model files and LoRAs that a resumed run may use.
    """

    trainer: Trainer
    runs: Path
    loras: Path
    comfyui: Path
    tokenizers: Path
    processes: Processes = Processes()  # noqa: RUF009  (frozen)
    runner: Path = launch.RUNNER
    on_cpu: bool = False
    device: Device = Device.NVIDIA
    models: tuple[Path, ...] = ()

    @property
    def computes_on(self) -> Device:
        return Device.CPU if self.on_cpu else self.device

    @property
    def cards(self) -> list[str] | None:
        """The graphics cards that a training uses on this machine; None if only Accelerate's file knows them."""
        if self.on_cpu or self.processes.cpu:
            return []
        if self.processes.config:
            return None
        return card_names(range(self.processes.count // self.processes.machines))


def check_length(runs: Path, name: str, system: str = sys.platform, enabled: bool | None = None) -> None:
    """Check the length of a run's paths on Windows.

    Args:
        runs: folder of all runs.
        name: of the run.
        enabled: whether long paths are enabled; None to ask Windows.

    Raises:
        TrainingError: if the paths would be too long.
    """
    longest = len(str(runs / name / "checkpoints" / f".{name}-step000000.converted.safetensors"))
    spare = LONGEST_PATH - longest
    if system != "win32" or spare >= 0 or (long_paths_enabled() if enabled is None else enabled):
        return
    possible = len(name) + spare // 2  # the name is in the path twice
    remedy = f"Choose a name of {possible} characters" if possible > 0 else "Move ComfyUI to a shorter folder"
    raise TrainingError(
        f"The files of the run {name!r} would have paths of {longest} characters; Windows allows {LONGEST_PATH}. "
        f"{remedy}, or enable long paths in Windows."
    )


def place_tokenizers(family: Architecture, comfyui: Path, target: Path) -> None:
    """Copy ComfyUI's tokenizers to ``target``, under the names that the trainer expects.

    Raises:
        TrainingError: if ComfyUI lacks one.
    """
    for name, source in family.tokenizers.items():
        folder = target / name.replace("/", "_")
        if (folder / "tokenizer_config.json").exists():
            continue
        if not (comfyui / source).is_dir():
            raise TrainingError(f"ComfyUI's tokenizer {comfyui / source} is missing; update ComfyUI.")
        unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(comfyui / source, unfinished)
        if "clip" in name.lower():
            _limit_length(unfinished / "tokenizer_config.json")
        if folder.exists():
            shutil.rmtree(unfinished)
        else:
            rename_over(unfinished, folder)


def _limit_length(path: Path) -> None:
    """Limit texts to what CLIP reads; ComfyUI's tokenizer allows longer ones."""
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "model_max_length": 77}, indent=1), encoding="utf-8")
