"""The results of a sweep: one row per training, as text and as files, and the conclusions in sentences."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from ...incontext.errors import TrainingError, explain_write_errors
from ...incontext.files.atomic import write_atomic
from .choices import AXES
from .folder import Record, State, Sweep
from .plan import Plan, Trial, ranked, shown

# two-sided 95 % quantiles of Student's t by degrees of freedom; beyond them it is nearly normal
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.96


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher one training's loss is than another's, on the same held-out sets with the same noise.

    Attributes:
        mean: of the differences per set.
        margin: half of its 95 % confidence interval; NaN if fewer than two sets were measured.
    """

    mean: float
    margin: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return abs(self.mean) > self.margin

    def __str__(self) -> str:
        return f"{self.mean:+.4f}" + (f" ± {self.margin:.4f}" if math.isfinite(self.margin) else "")


def difference(ours: Record, other: Record) -> Difference:
    """The first training's loss minus the second's, each at its best checkpoint."""
    (step, loss), (other_step, other_loss) = ours.best, other.best
    mine, theirs = ours.curve.by_set(step), other.curve.by_set(other_step)
    if len(mine) != len(theirs) or len(mine) < 2:
        return Difference(loss - other_loss, math.nan)
    gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
    quantile = _T95[len(gaps) - 2] if len(gaps) - 2 < len(_T95) else _NORMAL
    return Difference(fmean(gaps), quantile * stdev(gaps) / math.sqrt(len(gaps)))


def order(records: Mapping[int, Record]) -> list[int]:
    """Trial numbers, the best first; those without a checkpoint come last."""
    return ranked({number: record.best[1] for number, record in records.items()})


def best(sweep: Sweep) -> tuple[Trial, Record] | None:
    """The training with the lowest loss on held-out sets; None if no checkpoint was measured."""
    records = sweep.records()
    number = order(records)[0]
    record = records[number]
    return (sweep.plan.trials[number - 1], record) if math.isfinite(record.best[1]) else None


def best_of(record: Record) -> str:
    """The best checkpoint of a training, in words."""
    step, loss = record.best
    return f"loss {loss:.4f} on held-out sets at step {step}" if step else "nothing was measured"


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """One row per training, the best first; unknown values are None."""
    records = sweep.records()
    found = order(records)
    first = records[found[0]]
    listed = []
    for place, number in enumerate(found, 1):
        trial, record = sweep.plan.trials[number - 1], records[number]
        step, loss = record.best
        gap = difference(record, first)
        listed.append(
            {
                "place": place,
                "training": number,
                **trial.changed,
                "state": record.state.value,
                "steps": record.curve.step,
                "loss_before": _finite(record.curve.start),
                "best_step": step or None,
                "loss": _finite(loss),
                "above_best": _finite(gap.mean),
                "margin": _finite(gap.margin),
                "seconds": round(record.seconds, 1),
                "run": record.run,
                "lora": record.lora,
                "why": record.why,
            }
        )
    return listed


def _finite(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


# --- as text --------------------------------------------------------------------------------------------------------


def text(sweep: Sweep) -> str:
    """The table and the conclusions, as plain text."""
    axes = list(sweep.plan.sweep.axes)
    titles = ["", *(AXES[name] for name in axes), "loss", "at step", "above the best", "state"]
    lines = []
    for row in rows(sweep):
        above = "" if row["place"] == 1 or row["loss"] is None else _gap(row)
        lines.append(
            [
                str(row["place"]),
                *(shown(row[name]) for name in axes),
                "–" if row["loss"] is None else f"{row['loss']:.4f}",
                "–" if row["best_step"] is None else str(row["best_step"]),
                above,
                row["state"],
            ]
        )
    widths = [max(len(line[i]) for line in (titles, *lines)) for i in range(len(titles))]
    table = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (titles, *lines)
    ]
    return "\n".join([line.rstrip() for line in table] + ["", *conclusions(sweep)])


def _gap(row: Mapping[str, Any]) -> str:
    return f"{row['above_best']:+.4f}" + ("" if row["margin"] is None else f" ± {row['margin']:.4f}")


def conclusions(sweep: Sweep) -> list[str]:
    """The conclusions from the table, one sentence each."""
    found = best(sweep)
    if found is None:
        return ["No checkpoint has been measured on held-out sets yet."]
    trial, record = found
    step, loss = record.best
    said = [f"Best: {trial.title}, with a loss of {loss:.4f} on {_held_out(sweep.plan)} held-out sets at step {step}."]
    if loss >= record.curve.start:
        said.append(
            f"It is not better than before the training ({record.curve.start:.4f}): none of these settings helps on sets "
            "that were not trained on."
        )
    alike = [
        str(number)
        for number, other in sweep.records().items()
        if number != trial.number and math.isfinite(other.best[1]) and _is_alike(other, record)
    ]
    if alike:
        said.append(
            f"Training {', '.join(alike)} cannot be distinguished from it on so few held-out sets; choose by the samples, or "
            "with Compare Checkpoints."
        )
    if "reference_share" in sweep.plan.sweep.axes:
        said.append(
            "The loss is measured on whole sets without references; look at samples to see how well references bind."
        )
    for number, other in sweep.records().items():
        if other.state in (State.STOPPED, State.FAILED) and other.why:
            said.append(f"Training {number} ({sweep.plan.trials[number - 1].title}) {other.state.value}: {other.why}")
    return [*said, *left_out(sweep)]


def _held_out(plan: Plan) -> int:
    return int(plan.base["validation_sets"])


def _is_alike(other: Record, record: Record) -> bool:
    gap = difference(other, record)
    return math.isfinite(gap.margin) and not gap.is_clear


def left_out(sweep: Sweep) -> list[str]:
    """Sentences on whether the sets that some trainings left out helped the others, all else being equal."""
    records = sweep.records()
    said = []
    for trial in sweep.plan.trials:
        if not trial.changed.get("leave_out"):
            continue
        others = {name: value for name, value in trial.changed.items() if name != "leave_out"}
        whole = next((each for each in sweep.plan.trials if each.changed == {**others, "leave_out": ""}), None)
        if whole is None:
            continue
        gap = difference(records[trial.number], records[whole.number])
        what = f"the sets {trial.changed['leave_out']}" + (f" ({_title(others)})" if others else "")
        if not math.isfinite(gap.margin):
            said.append(
                f"Whether {what} helped is unknown: both trainings must be measured on at least two held-out sets."
            )
        elif not gap.is_clear:
            said.append(
                f"Whether {what} helped is unclear: without them the loss on held-out sets changes by {gap}, an interval "
                "that includes 0. Hold out more sets, or add more."
            )
        else:
            helped = "helped" if gap.mean > 0 else "did harm"
            said.append(
                f"{what[0].upper()}{what[1:]} {helped}: without them the loss on held-out sets changes by {gap} (95 % "
                "interval)."
            )
    return said


def _title(changed: Mapping[str, Any]) -> str:
    return ", ".join(f"{AXES[name]} {shown(value)}" for name, value in changed.items())


# --- on disk --------------------------------------------------------------------------------------------------------


def write(sweep: Sweep) -> None:
    """Write table.csv and table.json into the sweep's folder.

    Raises:
        TrainingError: if they cannot be written.
    """
    listed = rows(sweep)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, listed[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    found = best(sweep)
    content = {
        "name": sweep.name,
        "rows": listed,
        "best": found[0].number if found else None,
        "conclusions": conclusions(sweep),
    }
    with explain_write_errors(sweep.folder, TrainingError):
        write_atomic(sweep.folder / "table.csv", file.getvalue())
        write_atomic(sweep.folder / "table.json", json.dumps(content, indent=1) + "\n")
