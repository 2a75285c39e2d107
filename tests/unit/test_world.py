"""The toy world reads back what it draws, every task's checker is exact, and the judge counts what it says."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from incontext_lora.demo import judge, models, world
from incontext_lora.demo.sets import write_sets
from incontext_lora.demo.tasks import COLOUR, GROWTH, RISE, TASKS, Task
from incontext_lora.demo.world import Panel, Set
from incontext_lora.launcher.arguments import parse
from PIL import Image


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
    assert judge.caption_accuracy([same, mixed]) == 0.75  # the given panel does not count; the cross is not a heart


@pytest.mark.parametrize("shape", world.SHAPES)
@pytest.mark.parametrize("radius", [12.0, 17.5, 23.0])
def test_size_and_height_are_read_to_the_pixel(shape: str, radius: float) -> None:
    reach = min(world.REACH, world.PANEL / 2 - 1 - radius)
    for dy in (-reach, 0.0, reach):
        reading = world.read_panel(world.draw_panel(Panel(shape, "green", 2.0, dy, radius)))
        assert reading.radius == pytest.approx(radius, abs=1.0)
        assert reading.dy == pytest.approx(dy, abs=1.0)


def test_a_shape_that_is_not_recognised_has_no_size_and_no_height() -> None:
    corner = np.full((world.PANEL, world.PANEL, 3), world.PAPER, np.uint8)
    corner[10:50, 10:16] = corner[44:50, 10:50] = world.PALETTE["red"]
    reading = world.read_panel(corner)
    assert (reading.shape, reading.colour, reading.radius, reading.dy) == (None, "red", None, None)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_set_of_a_task_has_its_relation_and_a_combination_of_its_own(task: Task) -> None:
    trained, judged = list(task.training_sets(20, 1)), list(task.held_out_sets(10, 0))
    for drawn in (*trained, *judged):
        assert task.holds(world.read_set(world.draw_set(drawn)))
    combinations = [tuple(panel.shape for panel in drawn.panels) for drawn in (*trained, *judged)]
    assert len(set(combinations)) == 30
    assert all(world.is_held_out(shapes) == (number >= 20) for number, shapes in enumerate(combinations))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_sets_drawn_at_random_hardly_ever_have_a_relation(task: Task) -> None:
    rng = random.Random(0)
    drawn = [world.read_set(world.draw_set(world.corpus_set(rng, ()))) for _ in range(40)]
    assert sum(task.holds(read) for read in drawn) <= 8


def test_tasks_differ_in_what_their_sets_have_in_common() -> None:
    for task in TASKS.values():
        read = [world.read_set(world.draw_set(drawn)) for drawn in task.training_sets(20, 1)]
        for other in TASKS.values():
            if other is not task:
                assert sum(other.holds(one) for one in read) <= 6, (task.name, other.name)


def panels(*places: tuple[float, float], colour: str = "blue") -> tuple[world.Reading, ...]:
    """Readings of stars drawn with these radii and heights."""
    drawn = Set(tuple(Panel("star", colour, 0.0, dy, radius) for radius, dy in places))
    return world.read_set(world.draw_set(drawn))


def test_growth_is_growth_at_every_step_and_more_than_readings_are_wrong_by() -> None:
    assert GROWTH.holds(panels((12, 0), (18, 0), (24, 0)))
    assert not GROWTH.holds(panels((22, 0), (17, 0), (12, 0)))  # shrinks
    assert not GROWTH.holds(panels((17, 0), (17, 0), (17, 0)))
    assert not GROWTH.holds(panels((12, 0), (17, 0), (17, 0)))  # stops growing
    assert not GROWTH.holds(panels((15, 0), (16, 0), (17, 0)))  # by too little
    unreadable = world.read_panel(np.full((world.PANEL, world.PANEL, 3), world.PAPER, np.uint8))
    assert not GROWTH.holds([*panels((12, 0), (17, 0)), unreadable])


def test_rising_is_rising_at_every_step_by_half_of_what_was_shown() -> None:
    assert RISE.holds(panels((15, 9), (20, 0), (15, -9)))
    assert not RISE.holds(panels((15, -9), (15, 0), (15, 9)))  # falls
    assert not RISE.holds(panels((15, 0), (15, 0), (15, 0)))
    assert not RISE.holds(panels((15, 9), (15, 0), (15, 0)))  # stops rising
    assert not RISE.holds(panels((15, 3), (15, 0), (15, -3)))  # by too little


@pytest.mark.parametrize("task", [GROWTH, RISE], ids=["growth", "rise"])
def test_a_given_panel_counts_as_it_was_drawn(task: Task) -> None:
    asked = next(iter(task.held_out_sets(1, 0)))
    picture = world.draw_set(asked).copy()
    assert judge.judge(asked, picture, 1, task).agrees_with_reference
    picture[:, world.PANEL : 2 * world.PANEL] = world.PAPER  # what came back of the given panel does not matter
    assert judge.judge(asked, picture, 1, task).agrees_with_reference
    swapped = np.concatenate([picture[:, 2 * world.PANEL :], picture[:, : 2 * world.PANEL]], axis=1)
    assert not judge.judge(asked, swapped, 1, task).agrees_with_reference


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_sets_of_a_task_as_files_never_mention_its_relation(task: Task, tmp_path: Path) -> None:
    write_sets(tmp_path / "sets", 3, 1, task)
    for number, drawn in enumerate(task.training_sets(3, 1), 1):
        folder = tmp_path / "sets" / f"{number:03d}"
        written = np.concatenate([np.asarray(Image.open(folder / f"{place}.png")) for place in (1, 2, 3)], axis=1)
        assert np.array_equal(written, world.draw_set(drawn))
        assert (folder / "caption.txt").read_text(encoding="utf-8").strip() == world.caption(drawn)


def test_the_first_task_is_the_shared_colour() -> None:
    assert list(COLOUR.training_sets(3, 1)) == list(world.relation_sets(3, 1))
    assert next(iter(TASKS.values())) is COLOUR


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_be_asked_for_and_has_its_bundled_lora(name: str) -> None:
    options, extra = parse(["demo", "--task", name])
    assert (options.task, extra) == (name, [])
    assert (models.WEIGHTS / models.LORA_FILES[name]).is_file()


def test_the_demo_fits_into_the_repository() -> None:
    assert sum(file.stat().st_size for file in models.WEIGHTS.iterdir()) <= 16_000_000
