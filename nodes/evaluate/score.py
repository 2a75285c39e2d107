"""How alike the panels of a set are, and how well they follow their caption."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...incontext.captions import joint as captions
from ...incontext.errors import CaptionError
from ...incontext.evaluate import scores as scoring
from ...incontext.evaluate.matrix_picture import matrix_picture
from ...incontext.lora.recipe import Recipe
from ...incontext.panels.layout import PanelLayout
from ...incontext.panels.stitch import split
from ...incontext.tensors import checked_pictures
from .. import types
from ..host import send_text
from ..schema import found_by
from .towers import image_embeddings, matching_tower, text_embedding


@found_by("evaluate", "consistency", "clip score", "similarity")
class InContextScoreSet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextScoreSet",
            display_name="Score Set",
            category="in-context lora/evaluate",
            description=(
                "How alike the panels of a set are: cosine of CLIP vision embeddings, or, without CLIP vision, "
                "statistics of colours and edges, which see a shared palette but no persons. With a text encoder of "
                "the same CLIP, also how well each panel follows its text. Compare scores of the same measure only."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The canvas with all panels; a batch is scored set by set."),
                types.Layout.Input("layout", tooltip="Where the panels are."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Any image encoder (CLIP, SigLIP, DINOv2). Without it, simple statistics are used.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Text encoder that belongs to the CLIP vision, to score the panels against their texts.",
                ),
                io.String.Input(
                    "caption",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="The joint caption of the set, with a marker in front of each panel's text.",
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
                    tooltip="All pairs as a picture; with several sets, their mean. Dark is alike.",
                ),
                io.String.Output(display_name="report", tooltip="One line a set, and what was measured how."),
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
        panels = split(checked_pictures(image, "the image"), layout)
        if clip_vision is None:
            embeddings: list[Tensor] = []
            measure = scoring.STATISTICS
            matrices = scoring.statistics_similarity(panels)
        else:
            embeddings = [image_embeddings(clip_vision, panel) for panel in panels]
            measure = "cosine of CLIP vision embeddings"
            matrices = scoring.embedding_similarity(embeddings)
        sets = [scoring.summary(matrix) for matrix in matrices]
        follows, remark = _caption_scores(embeddings, layout, clip_vision, clip, caption or "", recipe)
        score = sum(entry.mean for entry in sets) / len(sets)
        lowest = sum(entry.lowest for entry in sets) / len(sets)
        caption_score = sum(entry.mean for entry in follows) / len(follows) if follows else scoring.NOT_MEASURED
        title = f"{measure}; mean {score:.3f}" + (f" of {len(sets)} sets" if len(sets) > 1 else "")
        picture = matrix_picture(matrices.mean(dim=0), layout.names, title, scoring.panel_means(follows))
        report = scoring.report(layout.names, sets, measure, follows, remark)
        send_text(cls.hidden.unique_id, title)
        return io.NodeOutput(score, lowest, caption_score, picture, report)


def _caption_scores(
    embeddings: list[Tensor], layout: PanelLayout, clip_vision: Any, clip: Any, caption: str, recipe: Recipe | None
) -> tuple[list[scoring.CaptionScore], str]:
    """How the panels follow their texts, one entry a set; none, and why not, where that cannot be said."""
    if not caption.strip():
        return [], ""
    missing = [
        name for name, value in (("clip_vision", clip_vision), ("clip", clip), ("recipe", recipe)) if value is None
    ]
    if missing or recipe is None:
        return [], f"Caption not scored: connect {', '.join(missing)} too."
    try:
        texts = captions.parse(recipe, caption).panels
    except CaptionError as error:
        return [], f"Caption not scored: {error}"
    if len(texts) != len(layout):
        return [], f"Caption not scored: the recipe has {len(texts)} panels, the layout {len(layout)}."
    if not any(texts):
        return [], "Caption not scored: no text follows any of its markers."
    tower, reason = matching_tower(clip, clip_vision, embeddings[0].shape[-1])
    if tower is None:
        return [], f"Caption not scored: {reason}"
    found = [text_embedding(clip, tower, text) if text else None for text in texts]
    cut = [name for name, entry in zip(layout.names, found, strict=True) if entry is not None and entry[1]]
    remark = (
        f"The text of {', '.join(cut)} is longer than {tower} reads (77 tokens); its end was not scored." if cut else ""
    )
    return scoring.caption_scores(embeddings, [None if entry is None else entry[0] for entry in found]), remark
