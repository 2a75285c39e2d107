"""Scores of generated sets: what each sees and what it does not."""

from __future__ import annotations

import math
import random

import pytest
import torch
from incontext_lora.demo import world
from incontext_lora.incontext.errors import LayoutError
from incontext_lora.incontext.evaluate import features, scoring, sets
from incontext_lora.incontext.evaluate.grid import Candidate, Cell
from incontext_lora.incontext.panels import arrange
from torch import Tensor
from torch.nn.functional import normalize

LAYOUT = arrange.columns(3 * world.PANEL, world.PANEL, 3)


def drawn(*made: world.Set) -> list[Tensor]:
    return [torch.tensor(world.draw_set(one)).float()[None] / 255 for one in made]


def random_sets(count: int, *, related: bool, seed: int = 1) -> list[world.Set]:
    rng = random.Random(seed)
    return [world.random_set(rng, related=related) for _ in range(count)]


def look(made: list[world.Set]) -> scoring.SetFeatures:
    return scoring.look(drawn(*made), LAYOUT, scoring.STATISTICS)


def captions(made: list[world.Set]) -> list[str]:
    return [world.caption(one) for one in made]


def texts(made: list[world.Set]) -> list[list[str]]:
    return [[panel.shape for panel in one.panels] for one in made]


def test_consistency_tells_related_sets_from_others() -> None:
    related, others = random_sets(12, related=True), random_sets(12, related=False)
    found = [float(sets.consistency(look(made).likeness, captions(made)).mean()) for made in (related, others)]
    assert found[0] > 0.25
    assert abs(found[1]) < 0.1


def test_consistency_is_not_raised_by_what_all_sets_share() -> None:
    """A model that draws the same panels for every caption has the highest similarity within, and no consistency."""
    same = normalize(torch.ones(4, 3, 8), dim=-1)
    assert sets.within(same).tolist() == pytest.approx([1.0] * 4)
    assert sets.consistency(same, ["a", "b", "c", "d"]).tolist() == pytest.approx([0.0] * 4, abs=1e-6)


def test_consistency_needs_two_captions() -> None:
    same = normalize(torch.ones(2, 3, 8), dim=-1)
    assert sets.consistency(same, ["a", "a"]).isnan().all()
    with pytest.raises(LayoutError, match="one panel"):
        sets.within(torch.ones(2, 1, 8))


def test_copied_panels_have_no_composition() -> None:
    panel = world.Panel("star", "gold")
    copied = drawn(world.Set((panel,) * 3))
    varied = drawn(*random_sets(4, related=True))
    found = [scoring.look(pictures, LAYOUT, scoring.STATISTICS).places for pictures in (copied, varied)]
    assert float(sets.composition(found[0])) == pytest.approx(0.0, abs=1e-5)
    assert float(sets.composition(found[1]).min()) > 0.3


def test_content_sees_an_ignored_caption() -> None:
    made = random_sets(16, related=False)
    seen = look(made).content
    again = look(random_sets(16, related=True, seed=1)).content  # the same shapes in other colours
    asked = texts(random_sets(16, related=True, seed=1))
    assert float(sets.content(again, asked, seen, texts(made)).mean()) > 0.9
    swapped = [list(reversed(row)) for row in asked]
    wrong = [row for row, right in zip(swapped, asked, strict=True) if row[0] != right[0]]
    assert float(sets.content(again[: len(wrong)], wrong, seen, texts(made)).mean()) < 0.5


def test_the_base_model_is_not_compared_with_itself() -> None:
    base = normalize(torch.eye(4)[:, None].expand(4, 2, 4), dim=-1)
    base = torch.stack([base[0], base[1], -base[0], base[3]])
    every = [["a", "a"], ["b", "b"], ["a", "a"], ["c", "c"]]
    found = sets.content(base, every, base, every)
    assert found[0] == 0.0, "the other set of 'a' is its opposite"
    assert found[1].isnan(), "no other set shows 'b'"


def test_training_sets_that_come_back_are_not_novel() -> None:
    training = list(world.relation_sets(30, 1))
    known, fresh = look(training), look(list(world.held_out_sets(20, 3)))
    assert sets.nearest_training(known.likeness, known.likeness).novel.tolist() == [0.0] * 30
    found = sets.nearest_training(fresh.likeness, known.likeness)
    assert float(found.novel.mean()) > 0.9
    assert math.isnan(sets.nearest_training(fresh.likeness, known.likeness[:1]).limit)


def test_variety_is_that_of_seeds() -> None:
    vectors = normalize(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]], [[1.0, 0.0]]]), dim=-1)
    assert sets.variety(vectors, ["a", "a", "b", "b"]).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert sets.variety(vectors[:1], ["a"]).isnan().all()


def test_agreement_is_with_the_own_reference() -> None:
    given = torch.eye(2)
    panels = torch.stack([given[0].expand(3, 2), given[1].expand(3, 2)])
    assert sets.reference_agreement(panels, given, 0, ["a", "b"], [0, 1]).tolist() == [1.0, 1.0]
    assert sets.reference_agreement(panels, given, 0, ["a", "b"], [1, 0]).tolist() == [-1.0, -1.0]
    assert sets.reference_agreement(panels, given[:1], 0, ["a", "b"], [0, 0]).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("embed", [features.colours, features.shapes, features.statistics, sets.composition_map])
def test_features_are_unit_vectors_or_nothing(embed: scoring.Embed) -> None:
    pictures = torch.cat(
        [torch.rand(2, 40, 56, 3, generator=torch.Generator().manual_seed(1)), torch.ones(1, 40, 56, 3)]
    )
    lengths = embed(pictures).norm(dim=-1)
    assert lengths[:2].tolist() == pytest.approx([1.0, 1.0], abs=1e-4)
    assert torch.isfinite(embed(pictures)).all()
    assert torch.isfinite(embed(pictures[..., :1])).all()


def test_colours_do_not_see_the_ground_nor_the_place() -> None:
    here, there, other = (
        torch.tensor(world.draw_panel(panel)).float()[None] / 255
        for panel in (
            world.Panel("star", "gold", -4, 3),
            world.Panel("circle", "gold", 5, -5),
            world.Panel("star", "blue", -4, 3),
        )
    )
    first, second, third = (features.colours(one) for one in (here, there, other))
    assert float((first * second).sum()) > 0.9
    assert float((first * third).sum()) < 0.4


def test_scores_are_entered_for_each_cell() -> None:
    made = random_sets(4, related=True)
    base = random_sets(4, related=False)
    candidate = Candidate("one.safetensors", "", 1.0, "x")
    cells = [Cell(Candidate(), number, 0, "0" * 32) for number in range(4)]
    cells += [Cell(candidate, number, 0, "1" * 32) for number in range(4)]
    found = scoring.score(
        cells, captions(made), texts(made), look([*base, *made]), look(list(world.relation_sets(9, 2)))
    )
    assert all({"consistency", "within", "composition", "novelty"} <= set(scores) for scores in found)
    assert all("variety" not in scores for scores in found), "there is one seed"
    assert sum(scores["consistency"] for scores in found[4:]) > sum(scores["consistency"] for scores in found[:4])
