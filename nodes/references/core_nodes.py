"""ComfyUI's own nodes, called from Python."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor


def core_node(name: str) -> Any:
    """A node of ComfyUI's ``nodes.py``, whose module has the same name as this package."""
    return import_module("nodes").NODE_CLASS_MAPPINGS[name]


def encode_for_inpainting(
    positive: list, negative: list | None, vae: Any, canvas: Tensor, mask: Tensor, noise_mask: bool
) -> tuple[list, list, dict[str, Any]]:
    used = positive if negative is None else negative
    return core_node("InpaintModelConditioning")().encode(positive, used, canvas, vae, mask, noise_mask)


def add_reference_latents(
    positive: list, negative: list | None, vae: Any, parts: Sequence[Tensor]
) -> tuple[list, list]:
    from comfy_extras.nodes_edit_model import ReferenceLatent

    prepared = [positive, positive if negative is None else negative]
    for part in parts:
        latent = {"samples": encode(vae, part)}
        prepared = [ReferenceLatent.execute(one, latent).args[0] for one in prepared]
    return prepared[0], prepared[1]


def add_noise_mask(samples: Tensor, mask: Tensor) -> dict[str, Any]:
    return core_node("SetLatentNoiseMask")().set_mask({"samples": samples}, mask)[0]


def soften_mask(model: Any) -> Any:
    from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion

    return DifferentialDiffusion.execute(model).args[0]


def encode(vae: Any, pictures: Tensor) -> Tensor:
    """Latents of a batch of pictures; an autoencoder for video (Qwen-Image's) would take the batch for one video."""
    if getattr(vae, "latent_dim", 2) == 3 and len(pictures) > 1:
        return torch.cat([vae.encode(picture[None]) for picture in pictures])
    return vae.encode(pictures)


def given_or_blocked(conditioning: list | None) -> Any:
    if conditioning is not None:
        return conditioning
    return ExecutionBlocker(
        "Nothing is connected to this input of Condition Panels, so nothing comes out. Connect the caption."
    )
