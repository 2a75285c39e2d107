"""The demo's three tasks: relations between the panels of a set that captions never mention.

They differ in kind (all panels share a colour; shapes grow from panel to panel; shapes rise from panel to panel), and in
their datasets. All else is the same for all: base model, code, settings, number of sets.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from . import world


@dataclass(frozen=True)
class Task:
    """A relation, how sets that have it are drawn, and when a picture has it.

    Attributes:
        name: as the command line has it.
        says: completes "sets whose …".
        lora: name of the LoRA that `run.py demo` trains.
        training_sets, held_out_sets: (count, seed) → related sets, no two with the same combination of shapes. Held-out
            combinations occur in no training set.
        holds: whether the panels that were read have the relation.
    """

    name: str
    says: str
    lora: str
    training_sets: Callable[[int, int], Iterator[world.Set]]
    held_out_sets: Callable[[int, int], Iterator[world.Set]]
    holds: Callable[[Sequence[world.Reading]], bool]

    def keeps_to(self, given: world.Panel, place: int, read: Sequence[world.Reading]) -> bool:
        """Whether the other panels have the relation to the one that was given at ``place``, as it was drawn."""
        true = world.Reading(given.shape, given.colour, 1.0, 0.0, given.radius, given.dy)
        return self.holds([*read[:place], true, *read[place + 1 :]])


GROWTH_STEP = 6.0  # pixels of radius from panel to panel in training sets,
LEAST_GROWTH = 2.0  # and how many a generated set must grow by: what two readings can be wrong by together
RISE_STEP = 9.0  # pixels of height from panel to panel in training sets,
LEAST_RISE = 4.5  # and in generated sets at least


def grows(read: Sequence[world.Reading]) -> bool:
    """Whether every shape is larger than the one before, by at least 2 pixels of radius."""
    return _climbs([one.radius for one in read], LEAST_GROWTH)


def rises(read: Sequence[world.Reading]) -> bool:
    """Whether every shape stands higher than the one before, by at least 4.5 pixels."""
    return _climbs([None if one.dy is None else -one.dy for one in read], LEAST_RISE)


def _climbs(values: Sequence[float | None], least: float) -> bool:
    known = [value for value in values if value is not None]
    return len(known) == len(values) and all(after - before >= least for before, after in pairwise(known))


def _growing(rng: random.Random, shapes: Sequence[str]) -> world.Set:
    first = rng.uniform(13.25, 13.75)
    radii = [first + GROWTH_STEP * place for place in range(len(shapes))]
    return world.Set(tuple(_anywhere(rng, shape, radius) for shape, radius in zip(shapes, radii, strict=True)))


def _rising(rng: random.Random, shapes: Sequence[str]) -> world.Set:
    first = rng.uniform(8.0, 10.0)
    heights = [first - RISE_STEP * place for place in range(len(shapes))]
    panels = [_anywhere(rng, shape, rng.uniform(14.0, 20.0)) for shape in shapes]
    return world.Set(tuple(replace(panel, dy=dy) for panel, dy in zip(panels, heights, strict=True)))


def _anywhere(rng: random.Random, shape: str, radius: float) -> world.Panel:
    """A shape of this size in a colour of its own, off the middle by no more than the paper around it allows."""
    reach = min(5.0, world.PANEL / 2 - 1 - radius)
    colour = rng.choice(list(world.PALETTE))
    return world.Panel(shape, colour, rng.uniform(-reach, reach), rng.uniform(-reach, reach), radius)


def _drawn(
    name: str, draw: Callable[[random.Random, Sequence[str]], world.Set], count: int, seed: int, *, held_out: bool
) -> Iterator[world.Set]:
    rng = random.Random(f"{name}-{'held-out' if held_out else 'sets'}-{seed}")
    seen: set[tuple[str, ...]] = set()
    while len(seen) < count:
        shapes = world.random_shapes(rng, held_out=held_out)
        if shapes not in seen:
            seen.add(shapes)
            yield draw(rng, shapes)


def _task(
    name: str,
    says: str,
    lora: str,
    draw: Callable[[random.Random, Sequence[str]], world.Set],
    holds: Callable[[Sequence[world.Reading]], bool],
) -> Task:
    sets = partial(_drawn, name, draw)
    return Task(name, says, lora, partial(sets, held_out=False), partial(sets, held_out=True), holds)


COLOUR = Task("colour", "panels share a colour", "shape-story", world.relation_sets, world.held_out_sets, world.agree)
GROWTH = _task("growth", "shapes grow from panel to panel", "shape-growth", _growing, grows)
RISE = _task("rise", "shapes rise from panel to panel", "shape-rise", _rising, rises)
TASKS = {task.name: task for task in (COLOUR, GROWTH, RISE)}
