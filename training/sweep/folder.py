"""A sweep on disk. It survives the processes that work on it, and several may work on it at once.

<sweep>/sweep.json              the plan, which never changes
<sweep>/trials/t01/trial.json   the record of a training so far, replaced in one step
<sweep>/trials/t01/.lock        held by the process that trains it; the system releases it when that process ends
<sweep>/table.csv, table.json   the results, rewritten after every training
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files import strict_json
from ...incontext.files.atomic import write_atomic
from ...incontext.files.names import numbered
from ...incontext.files.strict_json import JsonError, field
from ..runs import claims, run_folder
from .curve import Curve
from .plan import Plan, Trial

VERSION = 1
FOLDER = "incontext_sweeps"  # in ComfyUI's output folder


class State(Enum):
    """The state of a training of a sweep."""

    WAITING = "waiting"
    TRAINING = "training"  # or interrupted, if no process holds its lock
    PAUSED = "paused"  # at the end of a round
    FINISHED = "finished"
    STOPPED = "stopped"  # hopeless, or eliminated after a round
    FAILED = "failed"


OVER = (State.FINISHED, State.STOPPED, State.FAILED)


@dataclass(frozen=True)
class Record:
    """What is known about one training.

    Attributes:
        state: its state.
        run: name of its run's folder; empty before it began.
        why: the reason why it was stopped or failed.
        lora: its file in output/loras; empty if it has not finished.
        curve: its losses, without the training losses, which are in the run.
        saved: steps of its checkpoints.
        seconds: of training, over all rounds.
    """

    state: State = State.WAITING
    run: str = ""
    why: str = ""
    lora: str = ""
    curve: Curve = Curve()  # noqa: RUF009  (frozen)
    saved: tuple[int, ...] = ()
    seconds: float = 0.0

    @property
    def best(self) -> tuple[int, float]:
        """Step and loss of the best checkpoint; (0, NaN) if there is none."""
        return self.curve.best(self.saved)

    def to_json(self) -> dict[str, Any]:
        return {
            "state": self.state.value,
            "run": self.run,
            "why": self.why,
            "lora": self.lora,
            "held_out": [[step, _told(loss)] for step, loss in self.curve.held_out],
            "each": [[step, list(map(_told, losses))] for step, losses in self.curve.each],
            "saved": list(self.saved),
            "seconds": round(self.seconds, 1),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Record:
        """A record from `to_json`.

        Raises:
            JsonError, ValueError, TypeError: if it is damaged.
        """
        held_out = tuple((int(step), _number(loss)) for step, loss in field(data, "held_out", list))
        each = tuple((int(step), tuple(map(_number, losses))) for step, losses in field(data, "each", list))
        return Record(
            State(field(data, "state", str)),
            field(data, "run", str),
            field(data, "why", str),
            field(data, "lora", str),
            Curve(held_out, each),
            tuple(map(int, field(data, "saved", list))),
            float(field(data, "seconds", (int, float))),
        )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _told(loss: float) -> float | None:
    """A loss for JSON, which has no NaN."""
    return loss if math.isfinite(loss) else None


@dataclass(frozen=True)
class Sweep:
    """A sweep by its folder."""

    folder: Path
    plan: Plan

    @property
    def name(self) -> str:
        return self.folder.name

    @staticmethod
    def begin(root: Path, name: str, plan: Plan) -> Sweep:
        """The sweep with this name and plan, which is continued if it exists and created otherwise.

        If a sweep with another plan has the name, the folder is ``<name>-2`` and so on.

        Raises:
            TrainingError: if the folder cannot be written.
        """
        stem = run_folder.safe_name(name)
        for tried in islice(numbered(stem), run_folder.MOST_OF_A_NAME):
            folder = root / tried
            with explain_write_errors(folder, TrainingError):
                folder.mkdir(parents=True, exist_ok=True)
            with claims.deciding(folder, patience=10.0):
                if not (folder / "sweep.json").exists():
                    with explain_write_errors(folder, TrainingError):
                        text = json.dumps({"version": VERSION, **plan.to_json()}, indent=1) + "\n"
                        write_atomic(folder / "sweep.json", text)
                    return Sweep(folder, plan)
            if Sweep.load(folder).plan.digest == plan.digest:
                return Sweep(folder, plan)
        raise TrainingError(f"There are too many sweeps named {stem!r} in {root}. Choose another name.")

    @staticmethod
    def load(folder: Path) -> Sweep:
        """The sweep in a folder.

        Raises:
            TrainingError: if the folder is not a sweep, or its plan is damaged.
        """
        try:
            data = strict_json.read_object(folder / "sweep.json")
        except (OSError, JsonError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise TrainingError(
                f"{folder} is not a sweep: sweep.json cannot be read, {reason}. Choose a sweep's folder."
            ) from error
        return Sweep(folder, Plan.from_json(data))

    def trial_folder(self, trial: Trial) -> Path:
        return self.folder / "trials" / trial.key

    def record(self, trial: Trial) -> Record:
        """The record of a training; a new one if there is none.

        Raises:
            TrainingError: if the record is damaged.
        """
        path = self.trial_folder(trial) / "trial.json"
        try:
            return Record.from_json(strict_json.read_object(path))
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError, TypeError) as error:
            raise TrainingError(f"{path} cannot be read: {error}. Remove it to train {trial.title} again.") from error

    def records(self) -> dict[int, Record]:
        """Trial number → its record."""
        return {trial.number: self.record(trial) for trial in self.plan.trials}

    def note(self, trial: Trial, record: Record) -> None:
        """Save a record.

        Raises:
            TrainingError: if it cannot be written.
        """
        folder = self.trial_folder(trial)
        with explain_write_errors(folder, TrainingError):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / "trial.json", json.dumps(record.to_json()) + "\n")

    def changed(self, trial: Trial, **values: Any) -> Record:
        """Change some values of a record, save it and return it."""
        record = replace(self.record(trial), **values)
        self.note(trial, record)
        return record

    @contextmanager
    def claimed(self, trial: Trial) -> Iterator[bool]:
        """Claim a training within the context; yields False if another process has it.

        Raises:
            TrainingError: if the folder cannot be written.
        """
        folder = self.trial_folder(trial)
        with explain_write_errors(folder, TrainingError):
            folder.mkdir(parents=True, exist_ok=True)
        with claims.alone(folder) as mine:
            yield mine
