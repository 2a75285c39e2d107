"""What a run with the stand-in trainer needs: a dataset, model files that look right, and a place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from incontext_lora.incontext.dataset.build import build
from incontext_lora.incontext.dataset.manifest import Dataset
from incontext_lora.incontext.dataset.options import BuildOptions
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels.arrange import rows
from incontext_lora.training.sd_scripts import preflight
from incontext_lora.training.sd_scripts.architectures import FLUX
from incontext_lora.training.sd_scripts.environment import Trainer
from incontext_lora.training.sd_scripts.machine import Machine
from incontext_lora.training.sd_scripts.order import Order
from incontext_lora.training.sd_scripts.settings import SdSettings, Sizes

STAND_IN = Path(__file__).with_name("stand_in_trainer.py")
TENSORS = {
    "flux.safetensors": ("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"),
    "clip_l.safetensors": ("text_model.encoder.layers.0.mlp.fc1.weight",),
    "t5xxl.safetensors": ("encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"),
    "ae.safetensors": ("decoder.up.0.block.0.conv1.weight", "decoder.conv_in.weight"),
}


def safetensors(path: Path, names: tuple[str, ...], dtype: str = "BF16") -> Path:
    """A file with tensors of these names, two bytes each."""
    size = 1 if dtype.startswith("F8") else 2
    entries = {
        name: {"dtype": dtype, "shape": [1], "data_offsets": [size * i, size * (i + 1)]} for i, name in enumerate(names)
    }
    header = json.dumps(entries).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * size * len(names))
    return path


def flux_files(folder: Path) -> dict[str, Path]:
    model, *others = (safetensors(folder / name, names) for name, names in TENSORS.items())
    return preflight.assign(FLUX, model, others)


def small_dataset(sets: Path, folder: Path, **options: object) -> Dataset:
    return build(sets, folder, Recipe("toy", rows(128, 192, 3), prefix="[TOY]"), BuildOptions(name="toy", **options))


def stand_in_machine(folder: Path, comfyui: Path) -> Machine:
    checkout = folder / "sd-scripts"
    checkout.mkdir(parents=True, exist_ok=True)
    for name in ("sd1_tokenizer", "text_encoders/t5_tokenizer"):
        target = comfyui / "comfy" / name
        target.mkdir(parents=True, exist_ok=True)
        (target / "tokenizer_config.json").write_text('{"model_max_length": 8192}')
    return Machine(
        trainer=Trainer(Path(sys.executable), checkout),
        runs=folder / "runs",
        loras=folder / "loras",
        comfyui=comfyui,
        tokenizers=folder / "tokenizers",
        runner=STAND_IN,
        on_cpu=True,
    )


def flux_order(dataset: Dataset, files: dict[str, Path], **changed: object) -> Order:
    values = {"steps": 5, "save_every": 2, "rank": 4, "sizes": Sizes.FULL, **changed}
    return Order(dataset, FLUX, files, SdSettings(**values), "toy", dataset.recipe)  # type: ignore[arg-type]
