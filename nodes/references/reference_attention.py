"""How much the panels to paint attend to the given ones."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...incontext.tensors import checked_masks
from ..schema import found_by, shows_first
from .inputs import CATEGORY


@found_by("attention strength", "reference strength")
@shows_first("strength")
class InContextReferenceAttention(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextReferenceAttention",
            display_name="Reference Attention",
            category=CATEGORY,
            description=(
                "Sets how strongly painted panels attend to the given ones, for FLUX, Chroma and SD3. 1 leaves "
                "the model unchanged; 1.3 follows a reference more closely, values below 1 less. It works with "
                "every attention in ComfyUI, including Sage."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The diffusion transformer."),
                io.Mask.Input("mask", tooltip="From Stitch Panels or Repaint Panels."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    tooltip=(
                        "How many times as much attention the given panels get: 1 is unchanged, 1.3 follows them "
                        "more closely, 0 hides them."
                    ),
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="When the change begins, as a share of sampling: 0 is the first step, 1 the end.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="When the change ends, as a share of sampling: 0 is the first step, 1 the end.",
                ),
            ],
            outputs=[io.Model.Output(display_name="attending", tooltip="The model, for the sampler.")],
        )

    @classmethod
    def execute(
        cls, model: Any, mask: Tensor, strength: float, start_percent: float, end_percent: float
    ) -> io.NodeOutput:
        from .attention import attend_to_references

        mask = checked_masks(mask, "the mask")
        return io.NodeOutput(attend_to_references(model, mask, strength, start_percent, end_percent))
