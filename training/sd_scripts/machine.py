"""Paths and devices of this machine, and what it must have before a training."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ...incontext.errors import TrainingError
from ...incontext.files.atomic import rename_over
from ..runs.cards import card_names
from . import launch
from .architectures import Architecture
from .environment import Trainer
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
