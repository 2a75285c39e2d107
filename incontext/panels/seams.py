"""Find the panels of a finished picture: look for seams near the lines of an expected layout.

A seam is a step in colour along the whole line, or a band of one colour (a gutter) between two such steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from ..errors import LayoutError, PanelError
from .box import Box
from .choices import LARGEST_TOLERANCE
from .layout import PanelLayout

_FLAT = 0.02  # largest standard deviation of colour along a line of a gutter
_STEP = 0.1  # difference in colour that counts as a full step
_EDGE = 0.5  # share of a line that must show a step to end a band of one colour
_CLEAR = 0.25  # share of a line that must show a step for full confidence
_GUTTER = 0.1  # bonus for a band between two steps over one of its edges
_FAINT = 0.06  # lowest score of a seam
_UNCLEAR = 0.2  # confidence below which a step is taken for the edge of something in a picture
_PULL = 0.05  # largest penalty for the distance from the expected line
_WIDEST_GUTTER = 0.25  # of the smaller neighbour


@dataclass(frozen=True, slots=True)
class Seam:
    """A line between panels. Positions are in pixels of the picture.

    Attributes:
        vertical: whether it separates left from right.
        start, end: where the first panel ends and the next begins; equal without a gutter.
        expected: where its middle was expected.
        confidence: 0 … 1; 0 if no seam was clear and the expected line was used.
    """

    vertical: bool
    start: int
    end: int
    expected: float
    confidence: float

    def describe(self) -> str:
        where = "x" if self.vertical else "y"
        if not self.confidence:
            return f"{where} = {self.start}: no seam found, so the expected line is used"
        gutter = f", gutter of {self.end - self.start} px" if self.end > self.start else ""
        moved = (self.start + self.end) / 2 - self.expected
        return (
            f"{where} = {self.start}{gutter}: {moved:+.0f} px from the expected line, confidence {self.confidence:.2f}"
        )


@dataclass(frozen=True, slots=True)
class FoundPanels:
    """The layout that was found, and the seams it is based on."""

    layout: PanelLayout
    seams: tuple[Seam, ...]

    @property
    def confidence(self) -> float:
        """Confidence of the least certain seam; 1 for a single panel."""
        return min((seam.confidence for seam in self.seams), default=1.0)

    def describe(self) -> str:
        return "\n".join([self.layout.describe(), *(seam.describe() for seam in self.seams)])


def find_panels(picture: Tensor, expected: PanelLayout, *, tolerance: float = 0.2, step: int = 1) -> FoundPanels:
    """Find the panels of a picture of any size.

    Args:
        picture: [H, W, channels] in 0…1.
        expected: how many panels there are and roughly where; only its proportions count.
        tolerance: how far a seam may lie from its expected line, as a share of the smaller panel beside it.
        step: edges between panels are moved to multiples of it, in pixels.

    Raises:
        PanelError: if the picture or the tolerance cannot be used.
        LayoutError: if straight lines do not divide the expected panels.
    """
    if picture.ndim != 3 or 0 in picture.shape:
        raise PanelError(f"The picture has the shape {list(picture.shape)}; expected [height, width, channels].")
    if not 0 < tolerance <= LARGEST_TOLERANCE:
        raise PanelError(f"The tolerance is {tolerance}; it must lie above 0 and be at most {LARGEST_TOLERANCE}.")
    height, width = picture.shape[:2]
    search = _Search(picture[..., :3].float(), tolerance, step)
    found: dict[int, Box] = {}
    margin = search.without_margins(Box(0, 0, width, height))
    search.divide(expected, list(range(len(expected))), _hull(expected.boxes), margin, found)
    boxes = tuple(found[index] for index in range(len(expected)))
    return FoundPanels(PanelLayout(width, height, boxes, expected.names), tuple(search.seams))


@dataclass(frozen=True)
class _Profiles:
    """What is known about each line of a region.

    Attributes:
        flat: whether the line has one colour.
        cover: share of the line that is a step from the line before it.
        at_ends: the same share within the first and the last eighth of the line; the larger of the two.

    The first and last entries of ``cover`` and ``at_ends`` are the region's own edges, which are not steps.
    """

    flat: list[bool]
    cover: list[float]
    at_ends: list[float]


class _Search:
    def __init__(self, picture: Tensor, tolerance: float, step: int) -> None:
        self._picture = picture
        self._tolerance = tolerance
        self._step = step
        self.seams: list[Seam] = []

    def divide(
        self, expected: PanelLayout, indices: Sequence[int], hull: Box, region: Box, found: dict[int, Box]
    ) -> None:
        """Find the boxes of the panels ``indices`` within ``region``; they were expected within ``hull``.

        Args:
            found: panel index → box; the result is added to it.
        """
        if len(indices) == 1:
            found[indices[0]] = region
            return
        for vertical in (False, True):
            groups = _groups(expected.boxes, indices, vertical)
            if len(groups) > 1:
                for group, part in zip(groups, self._cut(expected, groups, hull, region, vertical), strict=True):
                    self.divide(expected, group, _hull([expected.boxes[i] for i in group]), part, found)
                return
        names = ", ".join(expected.names[i] for i in indices)
        raise LayoutError(
            f"No straight line divides the panels {names}, so there are no seams to look for. Expect rows and columns, or "
            "write the boxes into Panel Layout."
        )

    def without_margins(self, region: Box) -> Box:
        """The region without a plain border around it."""
        edges = {}
        for vertical in (False, True):
            profiles = self._profiles(region, vertical)
            flat, cover, length = profiles.flat, profiles.cover, len(profiles.flat)
            most = length // 8
            first = next((i for i in range(length) if not flat[i]), 0)
            last = next((i for i in range(length) if not flat[length - 1 - i]), 0)
            edges[vertical] = (
                first if 0 < first <= most and cover[first] > 0.5 else 0,
                last if 0 < last <= most and cover[length - last] > 0.5 else 0,
            )
        (above, below), (before, after) = edges[False], edges[True]
        return Box(
            region.left + before, region.top + above, region.width - before - after, region.height - above - below
        )

    def _cut(
        self, expected: PanelLayout, groups: Sequence[Sequence[int]], hull: Box, region: Box, vertical: bool
    ) -> list[Box]:
        hulls = [_hull([expected.boxes[i] for i in group]) for group in groups]
        begin, length = (hull.left, hull.width) if vertical else (hull.top, hull.height)
        own_begin, own_length = (region.left, region.width) if vertical else (region.top, region.height)
        scale = own_length / length
        spans = [(box.left, box.right) if vertical else (box.top, box.bottom) for box in hulls]
        profiles = self._profiles(region, vertical)
        cuts: list[tuple[int, int]] = []
        for before, after in pairwise(spans):
            smaller = min(before[1] - before[0], after[1] - after[0]) * scale
            middle = ((before[1] + after[0]) / 2 - begin) * scale
            gutter = (after[0] - before[1]) * scale
            start, end, confidence = _seam(profiles, middle, gutter, smaller, self._tolerance)
            start, end = (self._snapped(own_begin + edge) - own_begin for edge in (start, end))
            self.seams.append(Seam(vertical, own_begin + start, own_begin + end, own_begin + middle, confidence))
            cuts.append((start, end))
        starts = [0, *(end for _, end in cuts)]
        ends = [*(start for start, _ in cuts), own_length]
        if any(end <= start for start, end in zip(starts, ends, strict=True)):
            raise PanelError(
                f"Seams were found at {', '.join(str(own_begin + start) for start, _ in cuts)}, which leaves a panel without "
                "any pixels. Use a smaller tolerance or step."
            )
        if vertical:
            return [Box(region.left + a, region.top, b - a, region.height) for a, b in zip(starts, ends, strict=True)]
        return [Box(region.left, region.top + a, region.width, b - a) for a, b in zip(starts, ends, strict=True)]

    def _snapped(self, edge: int) -> int:
        return round(edge / self._step) * self._step

    def _profiles(self, region: Box, vertical: bool) -> _Profiles:
        part = self._picture[region.rows, region.columns]
        lines = part.transpose(0, 1) if vertical else part  # [lines, along, channels]
        if len(lines) < 2:
            raise PanelError(
                f"The picture is {self._picture.shape[1]}×{self._picture.shape[0]}, too small to find panels in. Use a larger "
                "picture, or expect fewer panels."
            )
        flat = (lines.std(1, correction=0) < _FLAT).all(-1)
        steps = (lines[1:] - lines[:-1]).abs().amax(-1)  # [lines - 1, along]
        # the usual step nearby, so that texture is not taken for a seam
        near = avg_pool1d(steps.T, 13, stride=1, padding=6, count_include_pad=False) * 13
        core = avg_pool1d(steps.T, 5, stride=1, padding=2, count_include_pad=False) * 5
        usual = ((near - core) / 8).clamp(min=0).T
        strength = ((steps - 2 * usual) / _STEP).clamp(0, 1)
        ends = max(1, strength.shape[1] // 8)
        at_ends = torch.maximum(strength[:, :ends].mean(1), strength[:, -ends:].mean(1))
        return _Profiles(flat.tolist(), [0.0, *strength.mean(1).tolist(), 0.0], [0.0, *at_ends.tolist(), 0.0])


def _seam(
    profiles: _Profiles, middle: float, gutter: float, smaller: float, tolerance: float
) -> tuple[int, int, float]:
    """Start, end and confidence of the best seam near ``middle``; all in lines of the region."""
    flat, cover = profiles.flat, profiles.cover
    reach = max(2.0, tolerance * smaller)
    low, high = max(1, round(middle - reach)), min(len(flat) - 1, round(middle + reach))
    widest = max(2.0, gutter * 2, _WIDEST_GUTTER * smaller)
    candidates = [(cover[line], line, line) for line in range(low, high + 1)]
    line = low
    while line <= high:
        if not flat[line]:
            line += 1
            continue
        start = line
        while start > 1 and flat[start - 1] and cover[start] < _EDGE:
            start -= 1
        end = line + 1
        while end < len(flat) and flat[end] and cover[end] < _EDGE:
            end += 1
        if end - start <= widest and end < len(flat):
            weaker, stronger = sorted((cover[start], cover[end]))
            # part of a picture may have nearly the gutter's colour, but hardly ever along the whole line
            clear = stronger if weaker > _FAINT else (weaker + stronger) / 2
            if stronger >= _CLEAR:  # else it is a plain part of a picture
                candidates.append((_GUTTER + clear, start, end))
        line = end

    def value(candidate: tuple[float, int, int]) -> float:
        score, start, end = candidate
        return score - _PULL * abs((start + end) / 2 - middle) / reach

    best = max(candidates, key=value, default=(0.0, 0, 0))
    score, start, end = best
    others = [
        candidate[0] for candidate in candidates if candidate[2] < start - 3 or candidate[1] > end + 3
    ]  # the steps at a gutter's two edges belong to it
    if score >= _FAINT:
        # a seam reaches at least one end of its line; the edge of a thing in a picture stops before
        runs = min(1.0, max(profiles.at_ends[start], profiles.at_ends[end]) / _CLEAR)
        confidence = min(1.0, score / _CLEAR) * max(0.0, 1 - max(others, default=0.0) / score) * (0.1 + 0.9 * runs)
        if confidence >= _UNCLEAR:
            return start, end, round(confidence, 3)
    half = gutter / 2
    return round(middle - half), round(middle + half), 0.0


def _groups(boxes: Sequence[Box], indices: Sequence[int], vertical: bool) -> list[list[int]]:
    """Panels in groups that straight lines separate, from left to right or top to bottom."""

    def span(index: int) -> tuple[int, int]:
        box = boxes[index]
        return (box.left, box.right) if vertical else (box.top, box.bottom)

    groups: list[list[int]] = []
    reach = -1
    for index in sorted(indices, key=span):
        start, end = span(index)
        if groups and start < reach:
            groups[-1].append(index)
        else:
            groups.append([index])
        reach = max(reach, end)
    return groups


def _hull(boxes: Sequence[Box]) -> Box:
    left, top = min(box.left for box in boxes), min(box.top for box in boxes)
    return Box(left, top, max(box.right for box in boxes) - left, max(box.bottom for box in boxes) - top)
