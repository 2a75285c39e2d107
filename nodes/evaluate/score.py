"""How alike the panels of a set are, and how well they follow their caption."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor
from torch.nn.functional import normalize

from ...incontext.captions import joint as captions
from ...incontext.errors import CaptionError
from ...incontext.evaluate import features
from ...incontext.evaluate import scores as scoring
from ...incontext.evaluate import sets as set_scores
from ...incontext.evaluate.matrix_picture import matrix_picture
from ...incontext.lora.recipe import Recipe
from ...incontext.panels.layout import PanelLayout
from ...incontext.panels.stitch import split
from ...incontext.tensors import checked_pictures
from .. import types
from ..host import send_text
from ..schema import found_by
from .towers import encoder_name, image_embeddings, matching_tower, text_embedding


@found_by("evaluate", "consistency", "clip score", "similarity")
class InContextScoreSet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="InContextScoreSet",
            display_name="Score Set",
            category="in-context lora/evaluate",
            description=(
                "How alike the panels of a set are: cosine of an image encoder's embeddings (DINOv2 is advised), or, without "
                "one, statistics of colours and edges, which see a shared palette but no persons. With both towers of a CLIP, "
                "also how well each panel follows its text. Compare scores of the same measure only."
            ),
            inputs=[
                io.Image.Input("image", tooltip="The canvas with all panels; a batch is scored set by set."),
                types.Layout.Input("layout", tooltip="Where the panels are."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip=(
                        "DINOv2 or DINOv3 is advised: CLIP and SigLIP miss a changed identity. Without an encoder, simple "
                        "statistics are used."
                    ),
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
                    tooltip="All pairs as a picture; with several sets, their mean. Dark is alike.",
                ),
                io.String.Output(display_name="report", tooltip="One line per set, and what was measured how."),
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
        panels = split(checked_pictures(image, "the image"), layout)
        if clip_vision is None:
            embeddings: list[Tensor] = []
            measure = scoring.STATISTICS
            matrices = scoring.statistics_similarity(panels)
        else:
            embeddings = [image_embeddings(clip_vision, panel) for panel in panels]
            measure = f"cosine of CLIP vision embeddings ({encoder_name(clip_vision)})"
            matrices = scoring.embedding_similarity(embeddings)
        sets = [scoring.summary(matrix) for matrix in matrices]
        follows, remark = _caption_scores(embeddings, layout, clip_vision, clip, caption or "", recipe)
        score = sum(entry.mean for entry in sets) / len(sets)
        lowest = sum(entry.lowest for entry in sets) / len(sets)
        caption_score = sum(entry.mean for entry in follows) / len(follows) if follows else scoring.NOT_MEASURED
        title = f"{measure}; mean {score:.3f}" + (f" of {len(sets)} sets" if len(sets) > 1 else "")
        picture = matrix_picture(matrices.mean(dim=0), layout.names, title, scoring.panel_means(follows))
        consistency, composition = _across(panels, embeddings)
        said = "\n".join(filter(None, (_about(consistency, composition), remark)))
        report = scoring.report(layout.names, sets, measure, follows, said)
        send_text(cls.hidden.unique_id, title)
        return io.NodeOutput(score, lowest, caption_score, picture, report, consistency, composition)


def _across(panels: list[Tensor], embeddings: list[Tensor]) -> tuple[float, float]:
    """Consistency, `NOT_MEASURED` for one set, and composition; means over the sets."""
    vectors = torch.stack(embeddings or [features.statistics(panel) for panel in panels], dim=1).float()
    places = torch.stack([set_scores.composition_map(panel) for panel in panels], dim=1)
    composition = float(set_scores.composition(places).mean())
    if len(vectors) < 2:
        return scoring.NOT_MEASURED, composition
    captions_of_sets = [str(number) for number in range(len(vectors))]
    return float(set_scores.consistency(normalize(vectors, dim=-1), captions_of_sets).mean()), composition


def _about(consistency: float, composition: float) -> str:
    """The two scores with what they tell and what they cannot."""
    found = {"composition": composition}
    if consistency != scoring.NOT_MEASURED:
        found = {"consistency": consistency, **found}
    facts = set_scores.SCORES
    return "\n".join(
        f"{facts[name].title.capitalize()} {value:.3f}: {facts[name].tells} It is blind to this: {facts[name].blind}"
        for name, value in found.items()
    )


def _caption_scores(
    embeddings: list[Tensor], layout: PanelLayout, clip_vision: Any, clip: Any, caption: str, recipe: Recipe | None
) -> tuple[list[scoring.CaptionScore], str]:
    """How the panels follow their texts, one entry per set; none, and why not, where that cannot be said."""
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
