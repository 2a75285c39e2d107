"""Choose which sets of a dataset to train on. Leaving some out shows what they contribute."""

from __future__ import annotations

import random
from dataclasses import replace
from fnmatch import fnmatchcase

from ..incontext.dataset.manifest import Dataset
from ..incontext.errors import TrainingError


def chosen_sets(dataset: Dataset, *, sets: int, leave_out: str, validation_sets: int, seed: int) -> Dataset:
    """A dataset with fewer sets to train on. The sets held out for validation are always its last ones.

    Args:
        sets: how many to train on, drawn at random; 0 for all. The sets for a smaller number are among those for a larger.
        leave_out: names of sets to leave out, separated by commas; ``*`` matches anything.
        validation_sets: number of sets held out.
        seed: of the draw.

    Raises:
        TrainingError: if a name matches no set, no set is left, or there are fewer sets than requested.
    """
    cut = len(dataset.items) - validation_sets
    trained, held_out = dataset.items[:cut], dataset.items[cut:]
    for pattern in patterns(leave_out):
        fitting = [item for item in dataset.items if fnmatchcase(item.set, pattern)]
        if not fitting:
            raise TrainingError(
                f"No set of {dataset.name} matches {pattern!r}, which should be left out. Its first set is "
                f"{dataset.items[0].set!r}; use the dataset's names."
            )
        trained = tuple(item for item in trained if item not in fitting)
    if not trained:
        raise TrainingError(
            f"Leaving out {leave_out!r} leaves no set of {dataset.name} to train on. Leave out fewer sets, or hold out fewer "
            "for validation."
        )
    if sets > len(trained):
        raise TrainingError(
            f"There should be {sets} sets to train on, but {dataset.name} has {len(trained)} besides those held out and left "
            "out. Choose a smaller number."
        )
    if sets:
        drawn = set(random.Random(seed).sample(range(len(trained)), len(trained))[:sets])
        trained = tuple(item for number, item in enumerate(trained) if number in drawn)
    return replace(dataset, items=(*trained, *held_out))


def patterns(leave_out: str) -> list[str]:
    """The names in a comma-separated text."""
    return [part.strip() for part in leave_out.split(",") if part.strip()]
