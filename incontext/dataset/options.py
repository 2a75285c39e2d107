"""What a user chooses when a dataset is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..panels.choices import Align, Fit
from ..panels.colours import WHITE, Colour


class Shape(Enum):
    FOLDERS = "one folder a set"
    NUMBERED = "numbered files"
    COMPOSITES = "ready-made composites"


class Composite(Enum):
    """How a ready-made composite comes onto the recipe's canvas."""

    PANELS = "fit each panel"  # cut where the recipe's panels meet, then fit each part into its panel
    WHOLE = "fit the whole picture"  # fit the canvas as one picture; seams move where proportions differ


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How sets become items.

    Attributes:
        name: of the dataset and its folder; the source folder's name when empty.
        fit, align, padding: how an image of another size comes into its panel.
        gutter: colour between the panels.
        references: indices of panels that are given at sampling and carry no loss.
        composite: how ready-made composites are fitted.
        shape: how the sets are stored; found out when None.
    """

    name: str = ""
    fit: Fit = Fit.COVER
    align: Align = Align.CENTER
    padding: Colour = WHITE
    gutter: Colour = WHITE
    references: tuple[int, ...] = ()
    composite: Composite = Composite.PANELS
    shape: Shape | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "fit": self.fit.value,
            "align": self.align.value,
            "padding": list(self.padding),
            "gutter": list(self.gutter),
            "references": list(self.references),
            "composite": self.composite.value,
            "shape": self.shape.value if self.shape else None,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> BuildOptions:
        return BuildOptions(
            name=data["name"],
            fit=Fit(data["fit"]),
            align=Align(data["align"]),
            padding=_colour(data["padding"]),
            gutter=_colour(data["gutter"]),
            references=tuple(int(index) for index in data["references"]),
            composite=Composite(data["composite"]),
            shape=Shape(data["shape"]) if data["shape"] else None,
        )


def _colour(values: Sequence[float]) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
