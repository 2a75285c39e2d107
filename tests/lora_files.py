"""LoRA files for tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from incontext_lora.incontext.lora.recipe import Recipe, References
from incontext_lora.incontext.panels import arrange
from safetensors.torch import save_file

RECIPE = Recipe(
    "räume-間",
    arrange.rows(128, 192, 3),
    prefix="[ROOMS]",
    references=References(clean=True, share=0.5),
    lineage=("first",),
)


def lora(path: Path, metadata: dict[str, str] | None = None) -> Path:
    save_file({"diffusion_model.a.lora_up.weight": torch.arange(6.0).reshape(3, 2)}, str(path), metadata)
    return path


def raw_tensors(path: Path) -> tuple[dict[str, object], bytes]:
    """The header's entries for tensors, and the bytes behind the header."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return header, content[8 + length :]
