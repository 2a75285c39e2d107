"""Scores of many generated sets, from the embeddings of their panels.

Embeddings are unit vectors [sets, panels, size], so the product of two is a cosine. Similarity within a set alone rewards
two failures: panels that are copies of each other, and a model that draws the same for every caption. So `consistency`
subtracts what panels of *different* sets have in common, `composition` detects copies and frozen layouts, and `novelty`
detects repeated training sets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, normalize

from ..errors import LayoutError

COMPOSITION_SIDE = 12  # cells per side of a composition map
_COPY_SHARE = 0.95  # share of the training sets whose nearest neighbour is within the limit of novelty


@dataclass(frozen=True, slots=True)
class ScoreFacts:
    """A description of a score for users.

    Attributes:
        title: short.
        tells: what a high value means.
        blind: what it cannot see.
    """

    title: str
    tells: str
    blind: str


SCORES: dict[str, ScoreFacts] = {
    "consistency": ScoreFacts(
        "consistency",
        "Panels of one set are more alike than panels of different sets.",
        "Sees only what the encoder sees, and no relation other than likeness, such as a size that grows.",
    ),
    "within": ScoreFacts(
        "within a set",
        "Panels of one set are alike.",
        "Is highest for panels that are copies of each other.",
    ),
    "caption": ScoreFacts(
        "caption following",
        "Each panel shows its own text rather than another panel's.",
        "Misses details, counts and left or right; texts beyond the encoder's length are cut.",
    ),
    "content": ScoreFacts(
        "content as by the base model",
        "Each panel is nearest to what the base model draws for the same text, so the caption still decides.",
        "Only as right as the base model; a LoRA that changes the style strongly lowers it too.",
    ),
    "answers": ScoreFacts(
        "yes answers",
        "A vision-language model says that panels show their texts and share identity, style and story.",
        "As reliable as the model that answers; small models say yes too often.",
    ),
    "reference": ScoreFacts(
        "agreement with the reference",
        "Painted panels are more like their own given panel than like those of other sets.",
        "As consistency. With one reference for all captions nothing is subtracted.",
    ),
    "composition": ScoreFacts(
        "composition",
        "Panels of a set place their contents differently: no copies, no frozen layout.",
        "A task whose panels should share a composition has a low value by nature; compare with the base and the "
        "training sets.",
    ),
    "variety": ScoreFacts(
        "variety",
        "Another seed gives another set for the same caption.",
        "Does not say whether the sets are good.",
    ),
    "novelty": ScoreFacts(
        "novelty",
        "Share of the sets that are no nearer to a training set than training sets are to each other.",
        "Sees nearly exact copies of whole sets, not of a detail. Training sets that are near-duplicates of each other hide "
        "copies, and few training sets make the limit coarse.",
    ),
}


def within(embeddings: Tensor) -> Tensor:
    """Mean cosine of the different panels of each set, [sets].

    Raises:
        LayoutError: if the layout has a single panel.
    """
    count = embeddings.shape[1]
    if count < 2:
        raise LayoutError("The layout has one panel; consistency needs at least two. Use a layout with more panels.")
    cosines = embeddings @ embeddings.transpose(1, 2)
    return _off_diagonal(cosines).mean(dim=-1)


def between(embeddings: Tensor, captions: Sequence[str]) -> Tensor:
    """Mean cosine of each set's panels with panels of sets with other captions, [sets]; NaN if there are none.

    As within a set, only panels at different positions are paired, so what a position always shows does not count.
    """
    sets, panels = embeddings.shape[:2]
    total = embeddings.new_full((sets,), math.nan)
    different = torch.ones(panels, panels, dtype=torch.bool).fill_diagonal_(False)
    for index in range(sets):
        others = [other for other in range(sets) if captions[other] != captions[index]]
        if others:
            cosines = torch.einsum("pd,sqd->spq", embeddings[index], embeddings[others])
            total[index] = cosines[:, different].mean()
    return total


def consistency(embeddings: Tensor, captions: Sequence[str]) -> Tensor:
    """Similarity within each set minus similarity between sets, [sets]; NaN with a single caption."""
    return within(embeddings) - between(embeddings, captions)


def reference_agreement(
    embeddings: Tensor, given: Tensor, place: int, captions: Sequence[str], references: Sequence[int]
) -> Tensor:
    """How much more painted panels resemble their own reference than other sets' references, [sets].

    Args:
        embeddings: [sets, panels, size].
        given: embeddings of the reference pictures, [pictures, size].
        place: index of the given panel, which does not count.
        captions: of each set.
        references: index of each set's reference picture. If all sets have the same one, nothing is subtracted.
    """
    painted = [panel for panel in range(embeddings.shape[1]) if panel != place]
    cosines = (embeddings[:, painted] @ given.T).mean(dim=1)  # [sets, pictures]
    own = cosines[torch.arange(len(references)), list(references)]
    others = [[one for one in set(references) if one != mine] for mine in references]
    baseline = [cosines[index, one].mean() if one else cosines.new_zeros(()) for index, one in enumerate(others)]
    return own - torch.stack(baseline)


def variety(embeddings: Tensor, captions: Sequence[str]) -> Tensor:
    """1 minus the mean cosine with sets of the same caption and other seeds, position by position, [sets].

    NaN for a set that is the only one of its caption.
    """
    found = embeddings.new_full((len(captions),), math.nan)
    for index, caption in enumerate(captions):
        same = [other for other, its in enumerate(captions) if its == caption and other != index]
        if same:
            found[index] = 1 - (embeddings[index] * embeddings[same]).sum(dim=-1).mean()
    return found


def content(
    embeddings: Tensor, texts: Sequence[Sequence[str]], base: Tensor, base_texts: Sequence[Sequence[str]]
) -> Tensor:
    """Share of each set's panels that are nearest to what the base model draws for the same text, [sets].

    The mean of the base model's panels for a text, at any position, represents the text. NaN if fewer than two texts are
    represented. To score the base model itself, pass the same object as ``embeddings`` and ``base``: each set is then
    compared with the others only.

    Args:
        embeddings: [sets, panels, size].
        texts: the text of each panel of each set.
        base: embeddings of the base model's sets, [base sets, panels, size].
        base_texts: the text of each panel of those.
    """
    known = list(dict.fromkeys(text for row in base_texts for text in row))
    places = torch.tensor([[known.index(text) for text in row] for row in base_texts])
    shares = torch.nn.functional.one_hot(places, len(known)).to(base)  # [base sets, panels, texts]
    sums = torch.einsum("spt,spd->std", shares, base)
    counts = shares.sum(dim=1)
    found = []
    for index, row in enumerate(texts):
        left_out = [index] if embeddings is base else []
        total, count = sums.sum(dim=0), counts.sum(dim=0)
        for one in left_out:
            total, count = total - sums[one], count - counts[one]
        present = count > 0
        wanted = [known.index(text) if text in known else -1 for text in row]
        counted = [panel for panel, place in enumerate(wanted) if place >= 0 and present[place]]
        if present.sum() < 2 or not counted:
            found.append(math.nan)
            continue
        cosines = embeddings[index] @ normalize(total, dim=-1).T
        nearest = cosines.masked_fill(~present, -math.inf).argmax(dim=-1)
        found.append(sum(int(nearest[panel]) == wanted[panel] for panel in counted) / len(counted))
    return embeddings.new_tensor(found)


# --- against the training sets ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nearest:
    """Each set's nearest training set.

    Attributes:
        similarity: mean cosine over positions, [sets].
        index: of the nearest training set, [sets].
        limit: a similarity above it is higher than between training sets; NaN if there is only one training set.
        novel: 1 where the similarity is within the limit, else 0, [sets].
    """

    similarity: Tensor
    index: Tensor
    limit: float
    novel: Tensor


def nearest_training(embeddings: Tensor, training: Tensor) -> Nearest:
    """Compare whole sets with the training sets, panel by panel at the same position.

    New sets of the same kind are about as far from the training sets as those are from each other. So the limit is the
    95th percentile of the similarity between a training set and its nearest neighbour.

    Args:
        embeddings: [sets, panels, size].
        training: [training sets, panels, size].
    """
    similarity, index = _set_cosines(embeddings, training).max(dim=1)
    if len(training) < 2:
        return Nearest(similarity, index, math.nan, torch.ones_like(similarity))
    own = _set_cosines(training, training).fill_diagonal_(-1.0).amax(dim=1)
    limit = float(torch.quantile(own, _COPY_SHARE))
    return Nearest(similarity, index, limit, (similarity <= limit + 1e-6).float())


def _set_cosines(one: Tensor, other: Tensor) -> Tensor:
    """Mean cosine over positions, [sets of one, sets of other]."""
    return torch.einsum("spd,tpd->st", one, other) / one.shape[1]


# --- composition -----------------------------------------------------------------------------------------------------


def composition_map(panels: Tensor) -> Tensor:
    """Where a panel has its contents: the strength of edges in a coarse grid, minus its mean, as a unit vector.

    Args:
        panels: [batch, height, width, channels] in 0…1.

    Returns:
        [batch, `COMPOSITION_SIDE`²].
    """
    channels = panels.float().clamp(0, 1).movedim(-1, 1)[:, :3]
    side = 8 * COMPOSITION_SIDE
    brightness = interpolate(channels, (side, side), mode="bilinear", antialias=True, align_corners=False).mean(dim=1)
    across = brightness[:, 1:-1, 2:] - brightness[:, 1:-1, :-2]
    down = brightness[:, 2:, 1:-1] - brightness[:, :-2, 1:-1]
    strength = torch.nn.functional.pad(torch.hypot(across, down), (1, 1, 1, 1))
    grid = avg_pool2d(strength[:, None], 8).flatten(1)
    return normalize(grid - grid.mean(dim=1, keepdim=True), dim=-1)


def composition(maps: Tensor) -> Tensor:
    """1 minus the mean correlation of the panels' composition maps, from 0 (copies) to about 1, [sets].

    Args:
        maps: [sets, panels, cells] from `composition_map`.
    """
    return 1 - within(maps)


def _off_diagonal(matrices: Tensor) -> Tensor:
    """[sets, n, n] → [sets, n · (n − 1) / 2], the pairs of different panels."""
    count = matrices.shape[-1]
    rows, columns = torch.triu_indices(count, count, 1)
    return matrices[:, rows, columns]
