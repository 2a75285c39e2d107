"""Which sets of a dataset a training learns from: some may be left out, to find out what they are good for."""

from __future__ import annotations

import random
from dataclasses import replace
from fnmatch import fnmatchcase

from ..incontext.dataset.manifest import Dataset
from ..incontext.errors import TrainingError


def chosen_sets(dataset: Dataset, *, sets: int, leave_out: str, validation_sets: int, seed: int) -> Dataset:
    """A dataset with fewer sets to train on. Those held out for validation, the last ones, are always the same.

    Args:
        sets: how many to train on, drawn at random; a smaller number draws some of those that a larger one draws. 0 for all.
        leave_out: names of sets that are not trained on, separated by commas; ``*`` stands for anything.
        validation_sets: number of sets held out.
        seed: of the draw.

    Raises:
        TrainingError: where a name fits no set, no set is left, or there are fewer sets than asked for.
    """
    cut = len(dataset.items) - validation_sets
    trained, held_out = dataset.items[:cut], dataset.items[cut:]
    for pattern in patterns(leave_out):
        fitting = [item for item in dataset.items if fnmatchcase(item.set, pattern)]
        if not fitting:
            raise TrainingError(
                f"No set of {dataset.name} has a name like {pattern!r}, which is to be left out. Its first set is "
                f"{dataset.items[0].set!r}; name sets as the dataset does."
            )
        trained = tuple(item for item in trained if item not in fitting)
    if not trained:
        raise TrainingError(
            f"Leaving out {leave_out!r} leaves no set of {dataset.name} to train on. Leave fewer out, or hold fewer out."
        )
    if sets > len(trained):
        raise TrainingError(
            f"{sets} sets are to be trained on, but {dataset.name} has {len(trained)} besides those held out and left out. "
            "Choose fewer."
        )
    if sets:
        drawn = set(random.Random(seed).sample(range(len(trained)), len(trained))[:sets])
        trained = tuple(item for number, item in enumerate(trained) if number in drawn)
    return replace(dataset, items=(*trained, *held_out))


def patterns(leave_out: str) -> list[str]:
    return [part.strip() for part in leave_out.split(",") if part.strip()]
