"""Which trainings a sweep has, and how long each is trained before they are compared. Pure values and functions."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...incontext.errors import TrainingError
from .choices import AXES, Strategy

MOST_TRIALS = 64
MEASUREMENTS = 10  # of the loss on held-out sets per training, at least
HELD_OUT = 8  # sets, where the settings hold none out and the dataset is large enough

_KINDS: Mapping[str, type] = {
    "rank": int,
    "learning_rate": float,
    "steps": int,
    "sets": int,
    "reference_share": float,
    "leave_out": str,
}


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """What is varied, and how it is compared; the trainer's own settings say all the rest.

    Attributes:
        axes: setting → the values that it takes, in order. Settings that are not named keep their value.
        strategy: grid or successive halving.
        keep_one_in: successive halving trains one training in so many further after each round.
        stop_hopeless: end a training that cannot become the best, before its last step.
    """

    axes: Mapping[str, tuple[Any, ...]]
    strategy: Strategy = Strategy.GRID
    keep_one_in: int = 3
    stop_hopeless: bool = True

    def __post_init__(self) -> None:
        for name, values in self.axes.items():
            if name not in AXES:
                raise TrainingError(f"A sweep cannot vary {name!r}; it can vary {', '.join(AXES)}.")
            if len(set(values)) < len(values):
                raise TrainingError(f"The sweep names a value of {AXES[name]} twice. Name each one once.")
        count = math.prod(len(values) for values in self.axes.values())
        if count < 2:
            raise TrainingError(
                "The sweep has one training only. Name at least two values of rank, learning rate or another setting."
            )
        if count > MOST_TRIALS:
            raise TrainingError(
                f"The sweep has {count} trainings; {MOST_TRIALS} are possible. Name fewer values, or sweep one setting "
                "after the other."
            )
        if self.keep_one_in < 2:
            raise TrainingError(f"Keep one in is {self.keep_one_in}; it must be at least 2.")

    @staticmethod
    def check_alone(resume: str | None, background: bool = False) -> None:
        """
        Raises:
            TrainingError: where one run is to be resumed as well, or the node is not to wait.
        """
        if background:
            raise TrainingError(
                "A sweep trains one run after the other, which the node has to begin. Turn background off, or disconnect the "
                "sweep."
            )
        if resume:
            raise TrainingError(
                f"The run {resume} is to be resumed, and a sweep is connected. A sweep goes on by itself: set resume to none, "
                "or disconnect the sweep."
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "axes": {name: list(values) for name, values in self.axes.items()},
            "strategy": self.strategy.value,
            "keep_one_in": self.keep_one_in,
            "stop_hopeless": self.stop_hopeless,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> SweepSettings:
        """
        Raises:
            TrainingError: where a value is missing or of another kind.
        """
        try:
            return SweepSettings(
                axes={name: tuple(map(_KINDS[name], values)) for name, values in data["axes"].items()},
                strategy=Strategy(data["strategy"]),
                keep_one_in=int(data["keep_one_in"]),
                stop_hopeless=bool(data["stop_hopeless"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrainingError(f"These settings of a sweep cannot be read: {error!r}.") from error


def parse_values(name: str, text: str) -> tuple[Any, ...]:
    """The values of one axis as a user writes them, with commas or spaces between them; empty for none.

    Sets to leave out are separated by semicolons, since one value may name several; ``-`` leaves out none.

    Raises:
        TrainingError: where one is not a value of this setting.
    """
    kind = _KINDS[name]
    if kind is str:
        parts = [part.strip() for part in text.split(";")]
        return tuple("" if part == "-" else part for part in parts if part)
    try:
        values = tuple(
            kind(float(part)) if kind is int and "e" in part.lower() else kind(part) for part in _words(text)
        )
        if not all(map(math.isfinite, values)):
            raise ValueError
        return values
    except (ValueError, OverflowError):
        expected = "whole numbers such as 8, 16" if kind is int else "numbers such as 1e-4, 3e-4"
        raise TrainingError(f"The values of {AXES[name]} are {text[:80]!r}; write {expected}.") from None


def _words(text: str) -> list[str]:
    return text.replace(",", " ").replace(";", " ").split()


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a sweep.

    Attributes:
        number: from 1, in the order of the axes.
        changed: the settings in which it differs from the other trainings.
        settings: all of the trainer's settings.
    """

    number: int
    changed: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its folder in the sweep's."""
        return f"t{self.number:02d}"

    @property
    def title(self) -> str:
        return ", ".join(f"{AXES[name]} {shown(value)}" for name, value in self.changed.items())

    @property
    def steps(self) -> int:
        return int(self.settings["steps"])


def shown(value: Any) -> str:
    """A value as tables show it."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value != "" else "nothing"


@dataclass(frozen=True)
class Plan:
    """A whole sweep, frozen when it begins.

    Attributes:
        trainer: ``in-host`` or ``sd-scripts``.
        sweep: what is varied.
        base: the trainer's settings as JSON; validation and checkpoints are set so that trainings can be compared.
        about: what else determines the trainings: dataset, model, the LoRA that is continued.
    """

    trainer: str
    sweep: SweepSettings
    base: Mapping[str, Any]
    about: Mapping[str, Any]

    @staticmethod
    def of(trainer: str, sweep: SweepSettings, base: Mapping[str, Any], about: Mapping[str, Any], sets: int) -> Plan:
        """A plan for trainings with these settings.

        Every training is measured on the same held-out sets, at the same noise and noise levels, and saved where it is
        measured.

        Args:
            base: the trainer's settings as JSON.
            sets: in the dataset.

        Raises:
            TrainingError: where the dataset is too small to hold sets out, or the rank of a LoRA is varied that is continued.
        """
        if about.get("continue_from") and "rank" in sweep.axes:
            raise TrainingError(
                f"A LoRA that is trained further keeps its rank. Disconnect rank from the sweep, or start a new LoRA instead of "
                f"continuing {about['continue_from']}."
            )
        held_out = base["validation_sets"] or min(HELD_OUT, sets // 5)
        if not held_out:
            raise TrainingError(
                f"The dataset has {sets} sets; a sweep holds at least one in five out to compare trainings on. Build a "
                "dataset of at least 5 sets, or set validation_sets."
            )
        shortest = min(sweep.axes.get("steps", (base["steps"],)))
        every = max(1, shortest // MEASUREMENTS)
        if sweep.strategy is Strategy.HALVING:
            count = math.prod(len(values) for values in sweep.axes.values())
            every = max(1, min(every, shortest // sweep.keep_one_in ** _rounds(count, sweep.keep_one_in) // 2))
        every = min(every, base["validate_every"] or every)
        fixed = {"validation_sets": held_out, "validate_every": every, "save_every": every}
        return Plan(trainer, sweep, {**base, **fixed}, about)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trainings; alpha changes with the rank, so that the LoRA's strength stays alpha / rank."""
        strength = self.base["alpha"] / self.base["rank"]
        found = []
        for number, values in enumerate(itertools.product(*self.sweep.axes.values()), 1):
            changed = dict(zip(self.sweep.axes, values, strict=True))
            settings = {**self.base, **changed}
            found.append(Trial(number, changed, {**settings, "alpha": float(settings["rank"] * strength)}))
        return tuple(found)

    @property
    def rounds(self) -> tuple[int, ...]:
        """Steps after which trainings are compared, the last being the end of the longest; one round for a grid."""
        longest = max(trial.steps for trial in self.trials)
        if self.sweep.strategy is Strategy.GRID:
            return (longest,)
        every, each = self.base["validate_every"], self.sweep.keep_one_in
        count = _rounds(len(self.trials), each)
        measured = [math.ceil(longest / each ** (count - i) / every) * every for i in range(count)]
        return (*(step for step in dict.fromkeys(measured) if step < longest), longest)

    @property
    def digest(self) -> str:
        """The same for the same sweep."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {
            "trainer": self.trainer,
            "sweep": self.sweep.to_json(),
            "settings": dict(self.base),
            "about": dict(self.about),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Plan:
        """
        Raises:
            TrainingError: where something is missing or of another kind.
        """
        try:
            return Plan(
                str(data["trainer"]),
                SweepSettings.from_json(data["sweep"]),
                dict(data["settings"]),
                dict(data["about"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"This plan of a sweep cannot be read: {error!r}.") from error


def _rounds(trials: int, each: int) -> int:
    """How often one in so many trainings can be kept until one is left."""
    count = 0
    while trials >= each:
        trials, count = trials // each, count + 1
    return count


def ranked(losses: Mapping[int, float]) -> list[int]:
    """Trial numbers, the lowest loss on held-out sets first; what is not finite comes last."""
    return sorted(losses, key=lambda number: (not math.isfinite(losses[number]), losses[number], number))
