"""The toy world reads back what it draws, and the judge counts what it says."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from incontext_lora.demo import judge, world
from incontext_lora.demo.world import Panel, Set


@pytest.mark.parametrize(("shape", "colour"), list(itertools.product(world.SHAPES, world.PALETTE)))
def test_every_panel_reads_back(shape: str, colour: str) -> None:
    rng = random.Random(f"{shape}-{colour}")
    for _ in range(3):
        drawn = Panel(shape, colour, rng.uniform(-5, 5), rng.uniform(-5, 5), rng.uniform(18.5, 23.5))
        reading = world.read_panel(world.draw_panel(drawn))
        assert (reading.shape, reading.colour) == (shape, colour)


def test_what_is_not_of_the_world_is_not_recognised() -> None:
    paper = np.full((world.PANEL, world.PANEL, 3), world.PAPER, np.uint8)
    assert world.read_panel(paper).shape is None
    noise = np.random.default_rng(0).integers(0, 256, paper.shape, dtype=np.uint8)
    assert world.read_panel(noise).colour is None
    half = world.draw_panel(Panel("square", "gold")).copy()
    half[:, : world.PANEL // 2][(half[:, : world.PANEL // 2] != world.PAPER).any(-1)] = world.PALETTE["blue"]
    assert (world.read_panel(half).shape, world.read_panel(half).colour) == ("square", None)


def test_held_out_combinations_are_never_drawn_for_training() -> None:
    trained = {tuple(p.shape for p in drawn.panels) for drawn in world.relation_sets(100, seed=1)}
    judged = {tuple(p.shape for p in drawn.panels) for drawn in world.held_out_sets(48, seed=0)}
    assert len(judged) == 48
    assert not trained & judged
    assert all(world.is_held_out(shapes) for shapes in judged)


def test_captions_name_shapes_in_order_and_colours_only_when_asked() -> None:
    drawn = Set((Panel("star", "red"), Panel("moon", "red"), Panel("heart", "red")))
    plain = world.caption(drawn, prefix=world.PREFIX)
    assert (
        plain == "[SHAPE-STORY] three panels of one picture story [SCENE-1] a star [SCENE-2] a moon [SCENE-3] a heart"
    )
    assert "[SCENE-2] a red moon" in world.caption(drawn, named=(False, True, False))
    assert drawn.agrees


def test_the_judge_counts_agreement_and_captions() -> None:
    asked = Set((Panel("star", "red"), Panel("moon", "red"), Panel("heart", "red")))
    same = judge.judge(asked, world.draw_set(asked), reference=0)
    other = Set((Panel("star", "red"), Panel("moon", "blue"), Panel("cross", "red")))
    mixed = judge.judge(asked, world.draw_set(other), reference=0)
    assert judge.set_agreement([same, mixed]) == 0.5
    assert judge.reference_agreement([same, mixed]) == 0.5
    assert judge.caption_accuracy([same, mixed]) == 0.75  # the given panel does not count; the cross is no heart
