"""Boxes in whole pixels: x to the right, y down."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import LayoutError


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in whole pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def scaled(self, numerator: int, denominator: int) -> Box:
        """The box on a canvas ``numerator / denominator`` times as large.

        Raises:
            LayoutError: if an edge would not fall on a whole pixel.
        """
        edges = [edge * numerator for edge in (self.left, self.top, self.width, self.height)]
        if any(edge % denominator for edge in edges):
            raise LayoutError(
                f"The panel at {self} does not fall on whole pixels when the canvas is scaled by "
                f"{numerator}/{denominator}. Scale the canvas by a whole factor, or split before scaling."
            )
        return Box(*(edge // denominator for edge in edges))

    def moved(self, right: int, down: int) -> Box:
        return Box(self.left + right, self.top + down, self.width, self.height)

    def __str__(self) -> str:
        return f"{self.width}×{self.height} at ({self.left}, {self.top})"


@dataclass(frozen=True, slots=True)
class Placement:
    """How a source image was fitted into its panel, so that it can be taken out again.

    Attributes:
        source_width, source_height: size of the source image, in pixels.
        crop: the visible part of the source, in source pixels.
        content: where that part lies in the panel, in panel pixels; the rest of the panel is padding.
    """

    source_width: int
    source_height: int
    crop: Box
    content: Box

    @property
    def resized(self) -> bool:
        return (self.crop.width, self.crop.height) != (self.content.width, self.content.height)


def between(span: tuple[int, int], top: int, bottom: int) -> Box:
    """The box with these edges; ``span`` is left and right."""
    left, right = span
    return Box(left, top, right - left, bottom - top)


def overlapping(boxes: Sequence[Box]) -> tuple[int, int] | None:
    """The indices of two boxes that overlap, the smaller first; None if no boxes overlap.

    A vertical line sweeps from left to right over the boxes' edges. The boxes that it crosses lie one below the other
    as long as none overlap, so each new one is compared only with its two neighbours.
    """
    edges = sorted(
        (edge, starts, index)
        for index, box in enumerate(boxes)
        for edge, starts in ((box.left, True), (box.right, False))  # False first: boxes may touch
    )
    crossed: list[tuple[int, int]] = []  # top and index, from the top
    for _, starts, index in edges:
        entry = (boxes[index].top, index)
        place = bisect_left(crossed, entry)
        if not starts:
            del crossed[place]
            continue
        for _, other in crossed[max(0, place - 1) : place + 1]:
            if boxes[index].overlaps(boxes[other]):
                return min(index, other), max(index, other)
        insort(crossed, entry)
    return None
