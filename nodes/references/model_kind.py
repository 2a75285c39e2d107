"""The kind of a MODEL: what it can be told about given panels, recognised from its inputs, the recipe and the caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_base

from ...incontext.errors import PanelError
from ...incontext.lora.recipe import Recipe
from .isolation import supports_isolation
from .options import ModelKind

EDIT_BASES = ("kontext", "qwen-image-edit", "qwen image edit", "omnigen2")  # as recipes name them


@dataclass(frozen=True)
class Recognition:
    """The kind of a model, and how it was recognised."""

    kind: ModelKind
    why: str


def recognise(model: Any, chosen: ModelKind, recipe: Recipe | None, positive: list | None) -> Recognition:
    """The kind of a MODEL.

    Raises:
        PanelError: if the model cannot be used this way, with the remedy.
    """
    base = model.model
    name = type(base).__name__
    mask_inputs = takes_mask(base)
    if chosen is ModelKind.INPAINTING and not mask_inputs:
        raise PanelError(
            f"{name} was loaded from a model that has no inputs for a mask, so it is not an inpainting model. Choose 'detect', "
            "or load an inpainting model such as FLUX.1-Fill-dev."
        )
    if chosen is not ModelKind.DETECT:
        return Recognition(chosen, f"as chosen, for {name}")
    if mask_inputs:
        return Recognition(ModelKind.INPAINTING, f"{name} has {mask_inputs} for a mask")
    extra = extra_channels(base)
    if extra:
        raise PanelError(
            f"{name} has {extra} input channels for a control picture (such as Canny or Depth) and none for a mask, so it cannot "
            "take given panels. Load the plain or the Fill model; a control LoRA can be loaded on the plain one."
        )
    if recipe is not None and recipe.references.isolated and supports_isolation(base):
        return Recognition(ModelKind.PLAIN, f"the recipe {recipe.name!r} has isolated references")
    if isinstance(base, comfy.model_base.Omnigen2 | comfy.model_base.Flux2):
        return Recognition(ModelKind.EDIT, f"{name} takes reference latents")
    if recipe is not None and any(one in recipe.base.lower() for one in EDIT_BASES):
        return Recognition(ModelKind.EDIT, f"the recipe {recipe.name!r} is for {recipe.base}")
    if positive is not None and any("reference_latents" in extra for _, extra in positive):
        return Recognition(ModelKind.EDIT, "the caption already comes with reference latents")
    return Recognition(ModelKind.PLAIN, f"{name} has no inputs for given pictures")


def takes_mask(base: Any) -> str:
    """In words, through which inputs a model sees a mask; empty if it has none."""
    if isinstance(base, comfy.model_base.Flux):
        # a mask of the picture's resolution takes 64 channels on top of the given picture's 16
        return f"{extra_channels(base)} input channels" if extra_channels(base) > latent_channels(base) else ""
    mask_keys = [key for key in base.concat_keys if key in ("mask", "mask_inverted")]
    return f"the input {mask_keys[0]!r}" if mask_keys else ""


def extra_channels(base: Any) -> int:
    """Input channels of a FLUX-class transformer beyond the latent itself; 0 for other models."""
    if not isinstance(base, comfy.model_base.Flux):
        return 0
    transformer = base.diffusion_model
    weight = getattr(getattr(transformer, "img_in", None), "weight", None)
    if weight is None:
        return 0
    # Chroma counts its output channels with those of the patch; it has no others
    return max(0, weight.shape[1] // transformer.patch_size**2 - latent_channels(base))


def latent_channels(base: Any) -> int:
    return int(base.model_config.unet_config["out_channels"])


def require(positive: list | None, recognition: Recognition) -> list:
    """The caption, without which such a model cannot be conditioned.

    Raises:
        PanelError: if it is missing.
    """
    if positive is None:
        raise PanelError(
            f"The model is an {recognition.kind.value} ({recognition.why}); it gets the given panels together with the "
            "caption. Connect the encoded caption to 'positive', and this node's 'positive' and 'negative' to the sampler."
        )
    return positive
