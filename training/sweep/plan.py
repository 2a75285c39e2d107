"""The trainings of a sweep, and the steps after which they are compared. Pure values and functions."""

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
MEASUREMENTS = 10  # least number of times that a training's loss on held-out sets is measured
HELD_OUT = 8  # sets to hold out if the settings hold out none and the dataset is large enough

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
    """What is varied, and how trainings are compared. Everything else is in the trainer's own settings.

    Attributes:
        axes: setting → its values, in order. Other settings keep their value.
        strategy: grid or successive halving.
        keep_one_in: after each round, successive halving continues one training in so many.
        stop_hopeless: stop a training that cannot become the best.

    Raises:
        TrainingError: if these are not at least two trainings, or a value cannot be used.
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
                "The sweep has only one training. Name at least two values of rank, learning rate or another setting."
            )
        if count > MOST_TRIALS:
            raise TrainingError(
                f"The sweep has {count} trainings; at most {MOST_TRIALS} are possible. Name fewer values, or sweep one setting "
                "after the other."
            )
        if self.keep_one_in < 2:
            raise TrainingError(f"Keep one in is {self.keep_one_in}; it must be at least 2.")

    @staticmethod
    def check_alone(resume: str | None, background: bool = False) -> None:
        """Check that a sweep is not combined with settings of a single run.

        Raises:
            TrainingError: if a run should be resumed, or the node should not wait.
        """
        if background:
            raise TrainingError(
                "A sweep trains one run after the other, so the node has to wait. Turn background off, or disconnect the "
                "sweep."
            )
        if resume:
            raise TrainingError(
                f"Resume is set to {resume}, but a sweep is connected. A sweep resumes its runs itself: set resume to none, or "
                "disconnect the sweep."
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
        """Settings from `to_json`.

        Raises:
            TrainingError: if a value is missing or of another type.
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
    """The values of one setting as a user writes them, separated by commas or spaces; an empty text has none.

    Values of ``leave_out`` are separated by semicolons, since one value may name several sets; ``-`` leaves out none.

    Raises:
        TrainingError: if one is not a value of this setting.
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
        changed: the varied settings and their values.
        settings: all settings of the trainer.
    """

    number: int
    changed: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"t{self.number:02d}"

    @property
    def title(self) -> str:
        return ", ".join(f"{AXES[name]} {shown(value)}" for name, value in self.changed.items())

    @property
    def steps(self) -> int:
        return int(self.settings["steps"])


def shown(value: Any) -> str:
    """A value for tables."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value != "" else "nothing"


@dataclass(frozen=True)
class Plan:
    """A whole sweep, which does not change once it has begun.

    Attributes:
        trainer: ``in-host`` or ``sd-scripts``.
        sweep: what is varied.
        base: the trainer's settings as JSON, with validation and checkpoints set so that trainings can be compared.
        about: what else determines the trainings: dataset, model, the LoRA to continue.
    """

    trainer: str
    sweep: SweepSettings
    base: Mapping[str, Any]
    about: Mapping[str, Any]

    @staticmethod
    def of(trainer: str, sweep: SweepSettings, base: Mapping[str, Any], about: Mapping[str, Any], sets: int) -> Plan:
        """A plan for trainings with these settings.

        Every training is measured on the same held-out sets, with the same noise and noise levels, and saves a checkpoint
        at each measurement.

        Args:
            base: the trainer's settings as JSON.
            about: see `Plan`.
            sets: number of sets in the dataset.

        Raises:
            TrainingError: if the dataset is too small to hold out sets, or the rank is varied but a LoRA is continued.
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
        """All trainings. Alpha is scaled with the rank, so that alpha / rank, the LoRA's strength, stays the same."""
        strength = self.base["alpha"] / self.base["rank"]
        found = []
        for number, values in enumerate(itertools.product(*self.sweep.axes.values()), 1):
            changed = dict(zip(self.sweep.axes, values, strict=True))
            settings = {**self.base, **changed}
            found.append(Trial(number, changed, {**settings, "alpha": float(settings["rank"] * strength)}))
        return tuple(found)

    @property
    def rounds(self) -> tuple[int, ...]:
        """Steps after which trainings are compared. The last one is the end of the longest; a grid has no others."""
        longest = max(trial.steps for trial in self.trials)
        if self.sweep.strategy is Strategy.GRID:
            return (longest,)
        every, each = self.base["validate_every"], self.sweep.keep_one_in
        count = _rounds(len(self.trials), each)
        measured = [math.ceil(longest / each ** (count - i) / every) * every for i in range(count)]
        return (*(step for step in dict.fromkeys(measured) if step < longest), longest)

    @property
    def digest(self) -> str:
        """Identifies the plan: SHA-256 of its JSON."""
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
        """A plan from `to_json`.

        Raises:
            TrainingError: if something is missing or of another type.
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
    """The number of times that keeping one training in ``each`` is possible."""
    count = 0
    while trials >= each:
        trials, count = trials // each, count + 1
    return count


def ranked(losses: Mapping[int, float]) -> list[int]:
    """Trial numbers by loss on held-out sets, lowest first; losses that are not finite come last."""
    return sorted(losses, key=lambda number: (not math.isfinite(losses[number]), losses[number], number))
