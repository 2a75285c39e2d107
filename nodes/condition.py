"""Some panels are given, the others are painted."""

from __future__ import annotations

from enum import Enum
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..incontext.errors import PanelError
from ..incontext.layout import PanelLayout
from ..incontext.recipe import Recipe
from . import types

CATEGORY = "in-context lora/references"


class Given(Enum):
    """How given panels enter at each step of sampling."""

    RECIPE = "as the recipe says"
    CLEAN = "keep clean"
    NOISED = "re-noise"


class InContextConditionPanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextConditionPanels",
            display_name="Condition Panels",
            category=CATEGORY,
            description=(
                "Prepares a canvas of which some panels are given: the sampler keeps those and paints the others. A LoRA that "
                "was trained on clean references binds to them when they stay clean at every step."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The diffusion transformer, with its LoRA."),
                io.Vae.Input("vae", tooltip="Encodes the given panels."),
                io.Image.Input("canvas", tooltip="From Stitch Panels."),
                io.Mask.Input("mask", tooltip="From Stitch Panels: white where something is to be painted."),
                io.Combo.Input(
                    "given_panels",
                    options=Given,
                    default=Given.RECIPE.value,
                    tooltip=(
                        "Keep clean: for LoRAs trained with clean references. Re-noise: the training-free way, for any model."
                    ),
                ),
                types.Recipe.Input(
                    "recipe", optional=True, tooltip="From Load LoRA: says how the LoRA's references were trained."
                ),
                types.Layout.Input(
                    "layout", optional=True, tooltip="From Stitch Panels: checks that the canvas is the layout's."
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For the sampler."),
                io.Latent.Output(display_name="latent", tooltip="For the sampler, at denoise 1.0."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        canvas: Tensor,
        mask: Tensor,
        given_panels: str,
        recipe: Recipe | None = None,
        layout: PanelLayout | None = None,
    ) -> io.NodeOutput:
        if tuple(mask.shape[-2:]) != tuple(canvas.shape[1:3]):
            raise PanelError(
                f"The mask is {mask.shape[-1]}×{mask.shape[-2]}, the canvas {canvas.shape[2]}×{canvas.shape[1]}. "
                "Connect both from the same Stitch Panels."
            )
        if layout is not None and (layout.width, layout.height) != (canvas.shape[2], canvas.shape[1]):
            raise PanelError(
                f"The canvas is {canvas.shape[2]}×{canvas.shape[1]}, the layout {layout.width}×{layout.height}. "
                "Connect both from the same Stitch Panels."
            )
        if keeps_clean(Given(given_panels), recipe):
            model = model.clone()
            model.add_object_patch("scale_latent_inpaint", keep_clean)
        latent = {"samples": vae.encode(canvas[..., :3]), "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])}
        return io.NodeOutput(model, latent)


def keeps_clean(given: Given, recipe: Recipe | None) -> bool:
    if given is Given.RECIPE:
        return recipe is not None and recipe.references.clean
    return given is Given.CLEAN


def keep_clean(latent_image: Tensor, **_: Any) -> Tensor:
    """What the sampler puts in place of given panels at each step: they themselves, without noise.

    Takes the place of ``BaseModel.scale_latent_inpaint``, which several of ComfyUI's own models override in this way.
    """
    return latent_image
