"""The scores of sets whose panels are known, as Score Set shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
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
from .towers import encoder_name, image_embeddings, matching_tower, text_embedding


class SetScores(NamedTuple):
    """What Score Set gives, in the order of its outputs; `NOT_MEASURED` for what could not be measured.

    Attributes:
        similarity: mean of all pairs of different panels, over all sets.
        lowest_pair: of the two panels that are least alike; the mean over the sets.
        caption: mean cosine between a panel and its own text.
        matrix: all pairs as a picture, [1, height, width, 3].
        report: one line per set, and how each figure was measured.
        consistency: similarity within the sets minus that between them.
        composition: how differently the panels of a set place their contents.
        title: the measure and the similarity, for the node itself.
        sets: the scores of each set, for the gallery.
    """

    similarity: float
    lowest_pair: float
    caption: float
    matrix: Tensor
    report: str
    consistency: float
    composition: float
    title: str
    sets: list[dict[str, Any]]


def score_sets(
    image: Tensor, layout: PanelLayout, clip_vision: Any, clip: Any, caption: str, recipe: Recipe | None
) -> SetScores:
    """Score a batch of canvases.

    Args:
        image: [sets, height, width, channels].
        clip_vision: a CLIP_VISION; None for statistics of colours and edges.
        clip: the text tower that belongs to it, to score the caption; None if it is not scored.

    Raises:
        PanelError: if the pictures do not fit the layout.
    """
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
    follows, remark = _caption_scores(embeddings, layout, clip_vision, clip, caption, recipe)
    score = sum(entry.mean for entry in sets) / len(sets)
    lowest = sum(entry.lowest for entry in sets) / len(sets)
    caption_score = sum(entry.mean for entry in follows) / len(follows) if follows else scoring.NOT_MEASURED
    title = f"{measure}; mean {score:.3f}" + (f" of {len(sets)} sets" if len(sets) > 1 else "")
    picture = matrix_picture(matrices.mean(dim=0), layout.names, title, scoring.panel_means(follows))
    consistency, composition = _across(panels, embeddings)
    said = "\n".join(filter(None, (_about(consistency, composition), remark)))
    report = scoring.report(layout.names, sets, measure, follows, said)
    return SetScores(
        score, lowest, caption_score, picture, report, consistency, composition, title, _each(sets, follows, measure)
    )


def _each(
    sets: Sequence[scoring.SetScore], follows: Sequence[scoring.CaptionScore], measure: str
) -> list[dict[str, Any]]:
    captions_of_sets = [round(entry.mean, 4) for entry in follows] or [None] * len(sets)
    return [
        {"mean": round(entry.mean, 4), "lowest": round(entry.lowest, 4), "caption": caption, "measure": measure}
        for entry, caption in zip(sets, captions_of_sets, strict=True)
    ]


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
    """The two scores, with what they can and cannot tell."""
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
    """How well the panels follow their texts, one entry per set; if that cannot be measured, none and the reason."""
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
