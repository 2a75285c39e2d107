"""How alike the panels of a set are, and how well they follow their caption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from .. import types
from ..host import send_text
from ..schema import found_by

if TYPE_CHECKING:
    from ...incontext.lora.recipe import Recipe
    from ...incontext.panels.layout import PanelLayout


@found_by("evaluate", "consistency", "clip score", "similarity")
class InContextScoreSet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextScoreSet",
            display_name="Score Set",
            category="in-context lora/evaluate",
            description=(
                "Measures how alike the panels of a set are, by the cosine of an image encoder's embeddings "
                "(DINOv2 is recommended). Without an encoder it compares colours and edges, which show a shared "
                "palette but cannot tell people apart. With both towers of a CLIP, it also measures how well "
                "each panel follows its text. Only compare scores that were measured in the same way."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The canvas with all panels; a batch is scored set by set."),
                types.Layout.Input("layout", tooltip="Where the panels are."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip=(
                        "DINOv2 or DINOv3 is recommended: CLIP and SigLIP miss a changed identity. Without an encoder, "
                        "simple statistics are used."
                    ),
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text encoder of the same CLIP as 'clip_vision', to score the panels against their texts.",
                ),
                io.String.Input(
                    "caption",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="The joint caption of the set, with a marker before each panel's text.",
                ),
                types.Recipe.Input(
                    "recipe",
                    optional=True,
                    tooltip="Says which markers the caption has, so that panels find their texts.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    display_name="score", tooltip="Mean similarity of all pairs of different panels, over all sets."
                ),
                io.Float.Output(
                    display_name="lowest pair",
                    tooltip="Similarity of the two panels that are least alike; with several sets, the mean of theirs.",
                ),
                io.Float.Output(
                    display_name="caption score",
                    tooltip=(
                        "Mean cosine between a panel and its own text; good CLIP matches lie near 0.25 to 0.35. "
                        "−1 means not measured; the report says why."
                    ),
                ),
                io.Image.Output(
                    display_name="matrix",
                    tooltip="All pairs as a picture; with several sets, their mean. Dark means alike.",
                ),
                io.String.Output(display_name="report", tooltip="One line per set, and how each figure was measured."),
                io.Float.Output(
                    display_name="consistency",
                    tooltip=(
                        "Similarity within the sets minus similarity between them, for a batch of sets with different "
                        "captions. −1 means not measured: there is one set."
                    ),
                ),
                io.Float.Output(
                    display_name="composition",
                    tooltip=(
                        "How differently the panels of a set place their contents, from 0 for copies to about 1. A low value "
                        "with a high score means copied panels or a frozen layout."
                    ),
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        layout: PanelLayout,
        clip_vision: Any = None,
        clip: Any = None,
        caption: str = "",
        recipe: Recipe | None = None,
    ) -> io.NodeOutput:
        from .set_scores import score_sets

        *outputs, title, sets = score_sets(image, layout, clip_vision, clip, caption or "", recipe)
        send_text(cls.hidden.unique_id, title)
        return io.NodeOutput(*outputs, ui={"incontext_scores": sets})
