"""Clean references: given panels have no noise at any step of sampling, nor after it if it stops before the last step."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
import comfy.sampler_helpers
import torch
from torch import Tensor

_NAME = "incontext_clean_references"


def keep_references_clean(model: Any) -> Any:
    """A MODEL whose sampler keeps what the mask marks as given."""
    patched = model.clone()
    patched.add_object_patch("scale_latent_inpaint", keep_clean)
    outer = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    patched.remove_wrappers_with_key(outer, _NAME)
    patched.add_wrapper_with_key(outer, _NAME, _sample)
    return patched


def keep_clean(latent_image: Tensor, **_: Any) -> Tensor:
    """What the sampler puts in place of given panels at each step: the panels themselves, without noise.

    Takes the place of ``BaseModel.scale_latent_inpaint``, which several of ComfyUI's own models override in this way.
    """
    return latent_image


def prepared_mask(mask: Tensor, shape: torch.Size) -> Tensor:
    """The mask of a sampler's call in the shape of its latents, on the processor; 0 if latents are given."""
    if mask.shape != shape:  # newer versions of ComfyUI have prepared it, which cannot be done twice
        mask = comfy.sampler_helpers.prepare_mask(mask, shape, torch.device("cpu"))
    return mask.cpu()


def _sample(executor: Any, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **named: Any):
    """Called with what ``CFGGuider.outer_sample`` is called with.

    A sampler that stops early returns given panels with noise that was never in them, which the next sampler would keep.
    """
    result = executor(noise, latent_image, sampler, sigmas, *args, **named)
    mask = args[0] if args else named.get("denoise_mask")
    if mask is None or not bool(sigmas[-1] > 0):
        return result
    given = prepared_mask(mask, noise.shape) == 0
    return torch.where(given.to(result.device), latent_image.to(result), result)
