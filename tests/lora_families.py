"""Small models and LoRAs of each naming family for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.lora.recipe_file import write_recipe
from incontext_lora.incontext.panels import arrange
from incontext_lora.tests.comfy_versions import flux_sizes
from safetensors.torch import save_file
from torch import Tensor

RECIPE = Recipe("rooms", arrange.rows(128, 192, 3), title="Rooms", prefix="[ROOMS]", base="tiny")
RANK = 4
PAIRS_A_B = ("diffusers", "peft", "peft, own names")  # families whose pairs are called so, and have no alpha
STRENGTH = 0.7


@dataclass(frozen=True)
class Part:
    """A weight of the model, or some of its rows."""

    weight: str
    start: int = 0
    rows: int | None = None


@dataclass
class Tiny:
    """A small model of a true architecture.

    Attributes:
        names: LoRA family → name of a module in that family → the part of the model that it means.
    """

    weights: dict[str, Tensor]
    names: dict[str, dict[str, Part]]
    kind: str

    def patcher(self, weights: dict[str, Tensor] | None = None) -> Any:
        """The model as ComfyUI's MODEL."""
        weights = dict(weights or self.weights)
        return sd3_patcher(weights) if self.kind == "SD3" else flux_patcher(weights)


def random_weights(module: torch.nn.Module, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(value.shape, generator=generator) * 0.1 for name, value in module.state_dict().items()}


def native_names(weights: dict[str, Tensor]) -> dict[str, dict[str, Part]]:
    """What kohya's and core's trainers call the weights of any model."""
    modules = [
        name.removesuffix(".weight") for name, value in weights.items() if name.endswith(".weight") and value.ndim == 2
    ]
    return {
        "kohya": {f"lora_unet_{name.replace('.', '_')}": Part(f"{name}.weight") for name in modules},
        "core": {f"diffusion_model.{name}": Part(f"{name}.weight") for name in modules},
        "peft, own names": {f"base_model.model.{name}": Part(f"{name}.weight") for name in modules},
    }


def prefixed(names: dict[str, Part]) -> dict[str, dict[str, Part]]:
    """The names of diffusers' modules, as ai-toolkit and OneTrainer write them."""
    return {
        "diffusers": {f"transformer.{name}": part for name, part in names.items()},
        "peft": {f"base_model.model.{name}": part for name, part in names.items()},
        "onetrainer": {f"lora_transformer_{name.replace('.', '_')}": part for name, part in names.items()},
    }


def sd3_patcher(weights: dict[str, Tensor]) -> Any:
    import comfy.sd

    return comfy.sd.load_diffusion_model_state_dict(weights)


def flux_patcher(weights: dict[str, Tensor]) -> Any:
    import comfy.model_patcher
    import comfy.supported_models

    config = comfy.supported_models.Flux(
        flux_sizes(
            {
                "image_model": "flux",
                "axes_dim": [8, 12, 12],
                "num_heads": 2,
                "mlp_ratio": 4.0,
                "theta": 10000,
                "out_channels": 16,
                "qkv_bias": True,
                "in_channels": 16,
                "hidden_size": 64,
                "context_in_dim": 48,
                "patch_size": 2,
                "vec_in_dim": 24,
                "depth": 2,
                "depth_single_blocks": 2,
                "guidance_embed": True,
            }
        )
    )
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({})
    if weights:
        model.diffusion_model.load_state_dict(weights)
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def thirds(weight: str, names: tuple[str, str, str], rows: int) -> dict[str, Part]:
    return {name: Part(weight, number * rows, rows) for number, name in enumerate(names)}


def make_lora(model: Tiny, family: str) -> dict[str, Tensor]:
    """A LoRA on every module of a family, with an alpha that is not its rank where the family writes one."""
    generator = torch.Generator().manual_seed(3)
    up, down = (".lora_B.weight", ".lora_A.weight") if family in PAIRS_A_B else (".lora_up.weight", ".lora_down.weight")
    tensors: dict[str, Tensor] = {}
    for name, part in model.names[family].items():
        rows, columns = model.weights[part.weight].shape
        tensors[name + up] = torch.randn((part.rows or rows, RANK), generator=generator) * 0.2
        tensors[name + down] = torch.randn((RANK, columns), generator=generator) * 0.2
        if family not in PAIRS_A_B:
            tensors[f"{name}.alpha"] = torch.tensor(2.0)
    return tensors


def merged(model: Tiny, family: str, lora: dict[str, Tensor], strength: float) -> dict[str, Tensor]:
    """The model's weights with the LoRA added by hand."""
    weights = {name: value.clone() for name, value in model.weights.items()}
    for name, part in model.names[family].items():
        if family in PAIRS_A_B:
            change = lora[f"{name}.lora_B.weight"] @ lora[f"{name}.lora_A.weight"]
        else:
            change = lora[f"{name}.lora_up.weight"] @ lora[f"{name}.lora_down.weight"] * (2.0 / RANK)
        weights[part.weight][part.start : part.start + len(change)] += strength * change
    return weights


def run(patcher: Any, kind: str) -> Tensor:
    """What the model predicts for a fixed noise, with its patches on."""
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn((1, 16, 8, 8), generator=generator)
    length, pooled = (4096, 2048) if kind == "SD3" else (48, 24)
    inputs = {
        "c_crossattn": torch.randn((1, 7, length), generator=generator),
        "y": torch.randn((1, pooled), generator=generator),
    }
    if kind == "Flux":
        inputs["guidance"] = torch.tensor([3.5])
    with torch.no_grad():
        patcher.patch_model(device_to=torch.device("cpu"))
        try:
            return patcher.model.apply_model(noise, torch.tensor([0.6]), **inputs)
        finally:
            patcher.unpatch_model(device_to=torch.device("cpu"))


def loras_folder(host: Any) -> Path:
    folder = host.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def put(host: Any, name: str, tensors: dict[str, Tensor], recipe: Recipe | None = None) -> str:
    path = loras_folder(host) / name
    save_file(tensors, str(path))
    if recipe is not None:
        write_recipe(path, recipe)
    return name
