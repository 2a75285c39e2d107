"""A measured figure, as the table and ``--json`` show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One result.

    Attributes:
        name: ``group.figure``, the same over time.
        value: the median, where there are several measurements.
        min, max: of the measurements.
        unit: ``ms``, ``s``, ``share``, ``ratio``, ``GB``.
        bound: what it must reach, e.g. ``<= 50``; empty if nothing was promised.
        detail: how it was measured.
    """

    name: str
    value: float
    min: float
    max: float
    unit: str
    bound: str = ""
    detail: str = ""

    @staticmethod
    def of(name: str, values: Sequence[float], unit: str, bound: str = "", detail: str = "") -> Figure:
        middle, lowest, highest = (round(f(values), 5) for f in (median, min, max))
        return Figure(name, middle, lowest, highest, unit, bound, detail)

    @property
    def holds(self) -> bool | None:
        """Whether the bound is met; None if there is none."""
        if not self.bound:
            return None
        relation, limit = self.bound.split()
        return self.value <= float(limit) if relation == "<=" else self.value >= float(limit)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def table(figures: Sequence[Figure]) -> str:
    lines = [f"{'figure':34}{'value':>10}{'min':>10}{'max':>10}  {'unit':6}{'bound':>10}"]
    for figure in figures:
        verdict = {True: "", False: "  MISSED", None: ""}[figure.holds]
        lines.append(
            f"{figure.name:34}{figure.value:10.4g}{figure.min:10.4g}{figure.max:10.4g}  {figure.unit:6}"
            f"{figure.bound:>10}{verdict}"
        )
    return "\n".join(lines)
