"""Condition Panels: some panels are given, and the model paints the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ...incontext.tensors import checked_masks, checked_pictures
from .. import types
from ..host import send_text
from ..schema import found_by, shows_first
from .options import ModelKind, ReferenceEntry

if TYPE_CHECKING:
    from ...incontext.lora.recipe import Recipe
    from ...incontext.panels.layout import PanelLayout

CATEGORY = "in-context lora/references"


@found_by("inpaint", "reference", "fill", "kontext", "noise mask", "try-on", "edit")
@shows_first("given_panels", "model_kind")
class InContextConditionPanels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextConditionPanels",
            display_name="Condition Panels",
            category=CATEGORY,
            description=(
                "Prepares a canvas on which some panels are given: the sampler keeps those and paints the others. It "
                "recognises the kind of model: a plain transformer (FLUX, SD3, Chroma) gets a noise mask, an inpainting "
                "model (FLUX Fill) also sees the given panels and the mask, an edit model (FLUX Kontext, Qwen-Image-Edit) "
                "gets reference latents. A LoRA that was trained on clean references binds to them when they stay clean at "
                "every step."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The diffusion transformer, with its LoRA."),
                io.Vae.Input("vae", tooltip="Encodes the given panels."),
                io.Image.Input("canvas", tooltip="From Stitch Panels."),
                io.Mask.Input("mask", tooltip="From Stitch Panels: white where the model paints."),
                io.Combo.Input(
                    "given_panels",
                    options=ReferenceEntry,
                    default=ReferenceEntry.RECIPE.value,
                    tooltip=(
                        "'keep clean' and 'isolate' are for LoRAs trained with such references; isolated ones "
                        "are computed once, which is faster. 're-noise' needs no training and works with any "
                        "model, but binds loosely."
                    ),
                ),
                io.Combo.Input(
                    "model_kind",
                    options=ModelKind,
                    default=ModelKind.DETECT.value,
                    optional=True,
                    tooltip=(
                        "Inpainting models are recognised by their inputs. FLUX Kontext and Qwen-Image-Edit look like their base "
                        "models: choose 'edit model' for them, unless the recipe names them."
                    ),
                ),
                io.Boolean.Input(
                    "noise_mask",
                    default=True,
                    optional=True,
                    tooltip=(
                        "For inpainting models: also hold the given panels fixed while sampling. Turn it off if the LoRA "
                        "repaints the whole canvas, as ACE++ does. Plain transformers always need it."
                    ),
                ),
                io.Boolean.Input(
                    "soft_mask",
                    default=False,
                    optional=True,
                    tooltip=(
                        "Differential Diffusion: grey parts of the mask are painted in the later steps only, so that a partly "
                        "given panel changes gradually."
                    ),
                ),
                types.Recipe.Input(
                    "recipe",
                    optional=True,
                    tooltip="From Load In-Context LoRA: says how the LoRA's references were trained.",
                ),
                types.Layout.Input(
                    "layout",
                    optional=True,
                    tooltip=(
                        "From Stitch Panels. It tells the panels apart for an edit model, and lets the node "
                        "check that the canvas belongs to it."
                    ),
                ),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="The encoded caption. Inpainting and edit models need it here; plain transformers do not.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What to avoid. If left open, the positive one is used.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For the sampler."),
                io.Latent.Output(display_name="latent", tooltip="For the sampler, at denoise 1.0."),
                io.Conditioning.Output(
                    display_name="positive", tooltip="For the sampler, if the input of this name is connected."
                ),
                io.Conditioning.Output(
                    display_name="negative", tooltip="For the sampler, if the input of this name is connected."
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="The kind of model, how it was prepared, and any settings that do not suit it.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        canvas: Tensor,
        mask: Tensor,
        given_panels: str,
        model_kind: str = ModelKind.DETECT.value,
        noise_mask: bool = True,
        soft_mask: bool = False,
        recipe: Recipe | None = None,
        layout: PanelLayout | None = None,
        positive: list | None = None,
        negative: list | None = None,
    ) -> io.NodeOutput:
        from .core_nodes import given_or_blocked
        from .prepare import Request, prepare

        prepared = prepare(
            model,
            vae,
            checked_pictures(canvas, "the canvas"),
            checked_masks(mask, "the mask"),
            Request(ReferenceEntry(given_panels), ModelKind(model_kind), noise_mask, soft_mask),
            recipe=recipe,
            layout=layout,
            positive=positive,
            negative=negative,
        )
        report = "\n".join(prepared.report)
        send_text(cls.hidden.unique_id, report)
        outputs = (given_or_blocked(one) for one in (prepared.positive, prepared.negative))
        return io.NodeOutput(prepared.model, prepared.latent, *outputs, report)
