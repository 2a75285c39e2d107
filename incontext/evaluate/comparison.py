"""A finished comparison: its rule, its table, and the files it is saved as.

<name>/comparison.json   everything: candidates, cells with their scores, the choice
<name>/table.csv         one line per candidate
<name>/grid-001.png      one grid per caption: a row per candidate, a column per seed
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .choose import BASE, Choice, Guard, Result, Rule, choose
from .grid import Candidate, Cell
from .sets import SCORES

KIND = "incontext comparison"
VERSION = 1
FILE = "comparison.json"
TABLE = "table.csv"

MAIN = "consistency"
# how far a score may fall below the base model's
CAPTION_LOSS = 0.03  # CLIP's cosine; good matches lie between 0.25 and 0.35
ANSWERS_LOSS = 0.15  # share of yes answers
CONTENT_LOSS = 0.15  # share of panels that show what the base model draws
COMPOSITION_SHARE = 0.5  # least composition, as a share of the training sets', else of the base model's
LEAST_NOVELTY = 0.5


@dataclass(frozen=True, slots=True)
class Comparison:
    """The candidates, pictures, scores and outcome of a comparison.

    Attributes:
        name: of its folder.
        run: the run whose checkpoints were compared; empty if the LoRAs do not come from a single run.
        captions: whole joint captions.
        candidates: the base model first.
        cells: the pictures, in the order of `grid.cells`.
        scores: name → value, per cell; a score that could not be measured is missing.
        choice: the outcome.
        measure: how likeness was measured, in words.
        remarks: further sentences for users.
        lora: the chosen LoRA's file in output/loras; empty if none was saved there.
        grids: file names of the grid pictures, one per caption.
    """

    name: str
    run: str
    captions: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    cells: tuple[Cell, ...]
    scores: tuple[Mapping[str, float], ...]
    choice: Choice
    measure: str
    remarks: tuple[str, ...] = ()
    lora: str = ""
    grids: tuple[str, ...] = field(default=())

    @property
    def chosen(self) -> Candidate | None:
        return next((one for one in self.candidates if one.label == self.choice.chosen), None)

    @property
    def measured(self) -> list[str]:
        """Names of the scores that at least one cell has, in the order of `SCORES`."""
        return [name for name in SCORES if any(name in scores for scores in self.scores)]

    def to_json(self) -> dict[str, Any]:
        choice = asdict(self.choice)
        choice["standings"] = [_rounded(standing) for standing in choice["standings"]]
        return {
            "kind": KIND,
            "version": VERSION,
            "name": self.name,
            "run": self.run,
            "measure": self.measure,
            "remarks": list(self.remarks),
            "scores": {name: asdict(SCORES[name]) for name in self.measured},
            "captions": list(self.captions),
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "cells": [
                {
                    "candidate": cell.candidate.label,
                    "caption": cell.caption,
                    "seed": cell.seed,
                    "picture": f"{cell.key}.png",
                    "scores": _rounded(scores),
                }
                for cell, scores in zip(self.cells, self.scores, strict=True)
            ],
            "choice": choice,
            "lora": self.lora,
            "grids": list(self.grids),
        }

    def to_csv(self) -> str:
        """One line per candidate, best first."""
        by_label = {candidate.label: candidate for candidate in self.candidates}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        heads = ("candidate", "run", "file", "strength", "chosen", *self.measured)
        writer.writerow((*heads, "low", "high", "gain", "better", "best", "rejected"))
        for one in self.choice.standings:
            candidate = by_label[one.candidate]
            means = [_short(one.means.get(name)) for name in self.measured]
            sure = [_short(value) for value in (one.low, one.high, one.gain, one.better, one.best)]
            place = (_plain(candidate.run), _plain(candidate.file), f"{candidate.strength:g}")
            chosen = "yes" if one.candidate == self.choice.chosen else ""
            writer.writerow((_plain(one.candidate), *place, chosen, *means, *sure, "; ".join(one.rejected)))
        return text.getvalue()

    def report(self) -> str:
        """The outcome and the table, as text for users."""
        names = self.measured
        lines = [self.choice.reason]
        if self.choice.alike:
            lines.append(f"These captions cannot distinguish it from {', '.join(self.choice.alike)}.")
        if self.lora:
            lines.append(f"It was saved to output/loras as {self.lora}.")
        lines += [self.choice.rule, f"Likeness: {self.measure}.", *self.remarks, ""]
        width = max(len(one.candidate) for one in self.choice.standings)
        lines.append(" ".join([" " * width, *(f"{name:>11}" for name in names)]))
        for one in self.choice.standings:
            means = [one.means.get(name) for name in names]
            shown = " ".join(f"{'-' if value is None else format(value, '.3f'):>11}" for value in means)
            lines.append(f"{one.candidate:<{width}} {shown}" + "".join(f"  {reason}" for reason in one.rejected))
        return "\n".join(lines)


def decide(
    cells: Sequence[Cell],
    scores: Sequence[Mapping[str, float]],
    captions: Sequence[str],
    *,
    training_composition: float | None = None,
) -> Choice:
    """Choose among the candidates of a grid by the standard rule.

    Args:
        training_composition: mean composition of the training sets; None if they are not known.

    Raises:
        ChoiceError: as `choose`.
    """
    results = [
        Result(cell.candidate.label, captions[cell.caption], cell.seed, values)
        for cell, values in zip(cells, scores, strict=True)
    ]
    return choose(results, standard_rule(results, training_composition))


def standard_rule(results: Sequence[Result], training_composition: float | None = None) -> Rule:
    """The highest consistency among candidates without copies, frozen layouts, memorised sets or ignored captions.

    With a single caption, consistency has nothing to subtract, so likeness within a set replaces it.
    """
    main = MAIN if any(MAIN in result.scores for result in results) else "within"
    usual = training_composition
    if usual is None:
        base = [result.scores["composition"] for result in results if _has_composition(result)]
        usual = sum(base) / len(base) if base else None
    least = None if usual is None else COMPOSITION_SHARE * usual
    return Rule(
        main,
        (
            Guard("caption", below_base=CAPTION_LOSS, meaning="It follows captions less than the base model."),
            Guard("answers", below_base=ANSWERS_LOSS, meaning="It follows captions less than the base model."),
            Guard("content", below_base=CONTENT_LOSS, meaning="The caption decides less than with the base model."),
            Guard("composition", least=least, meaning="Its panels are copies, or their layout is frozen."),
            Guard("novelty", least=LEAST_NOVELTY, meaning="It repeats training sets."),
        ),
    )


def _has_composition(result: Result) -> bool:
    return result.candidate == BASE and math.isfinite(result.scores.get("composition", math.nan))


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Floats with five digits; JSON has no NaN."""
    found = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found[name] = _rounded(value)
        elif isinstance(value, float):
            if math.isfinite(value):
                found[name] = round(value, 5)
        else:
            found[name] = value
    return found


def _short(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.5g}"


def _plain(text: str) -> str:
    """A name, marked as text if a spreadsheet would take it for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
