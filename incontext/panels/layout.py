"""Where the panels are: `PanelLayout`, the one value from which every node takes coordinates.

All positions are whole pixels of the canvas, x to the right and y down. What lies between the boxes is gutter.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate, pairwise
from typing import Any

from ..errors import LayoutError
from ..files.strict_json import shown
from ..plain_text import is_text

CANVAS_STEP = 64  # canvas sides; every published LoRA was trained on multiples of it
PANEL_STEP = 16  # panel sides: 8 px a latent pixel, 2 latent pixels a patch
SMALLEST_PANEL = 16
MOST_PANELS = 256  # as many as Panel Layout's grid can have; published tasks have at most nine
LONGEST_SIDE = 16384  # pixels of the canvas, as in ComfyUI's own widgets
LARGEST_AREA = 1 << 26  # pixels of the canvas, 8192×8192; as a picture in ComfyUI it takes 800 MB
LONGEST_NAME = 120  # characters
LONGEST_TEXT = 50_000  # characters of a widget's text; 256 boxes have 10,000


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
            LayoutError: where an edge would not fall on a whole pixel.
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
    """How a source image came into its panel; enough to take it out again.

    Attributes:
        source_width, source_height: size of the image as it was given.
        crop: the part of the source that is visible, in source pixels.
        content: where that part lies in the panel, in panel pixels; the rest of the panel is padding.
    """

    source_width: int
    source_height: int
    crop: Box
    content: Box

    @property
    def resized(self) -> bool:
        return (self.crop.width, self.crop.height) != (self.content.width, self.content.height)


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """Canvas size and its panels in reading order.

    Attributes:
        width, height: of the canvas, in pixels.
        boxes: one a panel; they lie on the canvas and do not overlap.
        names: one a panel, unique, e.g. ``SCENE-1`` or ``TOP-LEFT``.
        placements: one a panel after stitching; None for a panel that is to be generated. Empty before stitching.

    Raises:
        LayoutError: where the parts contradict each other.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]
    names: tuple[str, ...] = ()
    placements: tuple[Placement | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.boxes:
            raise LayoutError("A layout needs at least one panel.")
        _check_size(self.width, self.height, len(self.boxes))
        if not self.names:
            object.__setattr__(self, "names", default_names(self.boxes))
        if len(self.names) != len(self.boxes):
            raise LayoutError(f"{len(self.boxes)} panels have {len(self.names)} names; give one name a panel.")
        if not all(name.strip() for name in self.names):
            raise LayoutError(f"Panel names are {list(self.names)}; none may be empty. Name all panels, or none.")
        for name in self.names:
            _check_name(name)
        repeated = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if repeated:
            raise LayoutError(f"Panel names must differ; used more than once: {', '.join(repeated)}.")
        if self.placements and len(self.placements) != len(self.boxes):
            raise LayoutError(f"{len(self.boxes)} panels have {len(self.placements)} placements; give one a panel.")
        for name, box in zip(self.names, self.boxes, strict=True):
            if box.width <= 0 or box.height <= 0:
                raise LayoutError(f"Panel {name} is {box}; width and height must be positive.")
            if box.left < 0 or box.top < 0 or box.right > self.width or box.bottom > self.height:
                raise LayoutError(
                    f"Panel {name} is {box}, which leaves the canvas of {self.width}×{self.height}. "
                    "Move or shrink the panel, or enlarge the canvas."
                )
        overlapping = _overlap(self.boxes)
        if overlapping:
            i, j = overlapping
            raise LayoutError(
                f"Panels {self.names[i]} ({self.boxes[i]}) and {self.names[j]} ({self.boxes[j]}) overlap. "
                "Move one of them; panels may touch but not overlap."
            )

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def given(self) -> tuple[bool, ...]:
        """Per panel, whether stitching put an image there."""
        if not self.placements:
            return (False,) * len(self.boxes)
        return tuple(placement is not None for placement in self.placements)

    @property
    def gutter_area(self) -> int:
        """Pixels of the canvas that belong to no panel."""
        return self.width * self.height - sum(box.width * box.height for box in self.boxes)

    @property
    def gaps(self) -> tuple[Box, ...]:
        """Rectangles that cover the gutter exactly: where no panel is, each pixel once."""
        if not self.gutter_area:
            return ()
        edges = sorted({0, self.height, *(box.top for box in self.boxes), *(box.bottom for box in self.boxes)})
        found: list[Box] = []
        growing: dict[tuple[int, int], int] = {}  # left and right of what is free in the band above → where it began
        for top, bottom in pairwise(edges):
            covered = sorted((box.left, box.right) for box in self.boxes if box.top <= top and bottom <= box.bottom)
            ends, starts = [0, *(right for _, right in covered)], [*(left for left, _ in covered), self.width]
            free = [(left, right) for left, right in zip(ends, starts, strict=True) if left < right]
            found += [_between(span, begun, top) for span, begun in growing.items() if span not in free]
            growing = {span: growing.get(span, top) for span in free}
        return (*found, *(_between(span, begun, self.height) for span, begun in growing.items()))

    def named(self, names: Sequence[str]) -> PanelLayout:
        return replace(self, names=tuple(names))

    def placed(self, placements: Sequence[Placement | None]) -> PanelLayout:
        return replace(self, placements=tuple(placements))

    def unplaced(self) -> PanelLayout:
        """The layout without any images: what a recipe keeps."""
        return replace(self, placements=())

    def on_canvas(self, width: int, height: int) -> tuple[Box, ...]:
        """The boxes on a canvas of another size but the same proportions.

        Raises:
            LayoutError: where proportions differ or an edge would not fall on a whole pixel.
        """
        if (width, height) == (self.width, self.height):
            return self.boxes
        if width * self.height != height * self.width:
            raise LayoutError(
                f"The image is {width}×{height} but the layout's canvas is {self.width}×{self.height}, which has other "
                "proportions. Connect the layout that the image was made with."
            )
        return tuple(box.scaled(width, self.width) for box in self.boxes)

    def describe(self) -> str:
        panels = ", ".join(f"{name} {box}" for name, box in zip(self.names, self.boxes, strict=True))
        return f"{self.width}×{self.height}: {panels}"

    def to_json(self) -> dict[str, Any]:
        """Canvas, boxes and names; placements belong to one stitching and are not kept."""
        return {
            "width": self.width,
            "height": self.height,
            "panels": [
                {"name": name, "box": [box.left, box.top, box.width, box.height]}
                for name, box in zip(self.names, self.boxes, strict=True)
            ],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> PanelLayout:
        """Read a layout.

        Raises:
            LayoutError: where it is not one, or its parts contradict each other.
        """
        try:
            panels = data["panels"]
            if not isinstance(panels, list | tuple):
                raise ValueError(f"panels is {shown(panels)}")
            _check_size(_whole(data["width"]), _whole(data["height"]), len(panels))
            return PanelLayout(
                _whole(data["width"]),
                _whole(data["height"]),
                tuple(Box(*(_whole(edge) for edge in panel["box"])) for panel in panels),
                tuple(_text(panel["name"]) for panel in panels),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, LayoutError):
                raise
            raise LayoutError(
                f"This is no layout: {shown(error, 120)}. Expected width, height and panels with name and box "
                "[left, top, width, height]."
            ) from error


# --- making layouts -------------------------------------------------------------------------------------------------


class Kind(Enum):
    """How a canvas is divided."""

    ROWS = "rows"
    COLUMNS = "columns"
    GRID = "grid"
    NESTED = "nested rows"
    BOXES = "boxes"


def panel_layout(
    kind: str,
    width: int,
    height: int,
    rows: int,
    columns: int,
    columns_per_row: str,
    gutter: int,
    panel_step: str | int,
    boxes: str,
    names: str = "",
) -> PanelLayout:
    """The layout as the widgets of Panel Layout describe it; what its kind does not use is passed over.

    Raises:
        LayoutError: where it cannot be.
    """
    if kind not in {each.value for each in Kind}:
        raise LayoutError(f"There is no kind of layout {shown(kind)}; there are {', '.join(k.value for k in Kind)}.")
    try:
        step = whole_number(str(panel_step))
    except ValueError:
        raise LayoutError(f"The panel step is {shown(panel_step)}; expected pixels, such as 16.") from None
    if kind in (Kind.ROWS.value, Kind.GRID.value):
        _check_size(width, height, rows)
    match Kind(kind):
        case Kind.ROWS:
            layout = nested(width, height, [1] * rows, gutter=gutter, step=step)
        case Kind.COLUMNS:
            layout = nested(width, height, [columns], gutter=gutter, step=step)
        case Kind.GRID:
            layout = nested(width, height, [columns] * rows, gutter=gutter, step=step)
        case Kind.NESTED:
            layout = nested(width, height, parse_counts(columns_per_row), gutter=gutter, step=step)
        case Kind.BOXES:
            if not boxes.strip():
                raise LayoutError("Kind is 'boxes' but no box is given. Write one 'left, top, width, height' a line.")
            layout = custom(width, height, *parse_boxes(boxes))
    _check_length(names, "The panel names")
    written = [name.strip().strip("[]") for name in names.split(",") if name.strip()]
    return layout.named(written) if written else layout


def rows(width: int, height: int, count: int, *, gutter: int = 0, step: int = PANEL_STEP) -> PanelLayout:
    """``count`` panels below each other."""
    return nested(width, height, [1] * count, gutter=gutter, step=step)


def columns(width: int, height: int, count: int, *, gutter: int = 0, step: int = PANEL_STEP) -> PanelLayout:
    """``count`` panels side by side."""
    return nested(width, height, [count], gutter=gutter, step=step)


def grid(
    width: int, height: int, row_count: int, column_count: int, *, gutter: int = 0, step: int = PANEL_STEP
) -> PanelLayout:
    """``row_count`` × ``column_count`` panels."""
    return nested(width, height, [column_count] * row_count, gutter=gutter, step=step)


def nested(
    width: int,
    height: int,
    columns_per_row: Sequence[int],
    *,
    row_weights: Sequence[float] | None = None,
    gutter: int = 0,
    step: int = PANEL_STEP,
) -> PanelLayout:
    """Rows that hold different numbers of columns, e.g. ``[1, 2]``: one wide panel above two.

    Args:
        width, height: canvas, in pixels; multiples of 64.
        columns_per_row: number of panels in each row, from the top.
        row_weights: relative heights of the rows; equal when None.
        gutter: pixels between neighbours; none around the canvas.
        step: panel sides are multiples of it. What does not divide evenly is spread over the first panels.

    Raises:
        LayoutError: where the canvas cannot be divided so.
    """
    _check_canvas(width, height)
    _check_size(width, height, sum(columns_per_row))
    if not columns_per_row or any(count < 1 for count in columns_per_row):
        raise LayoutError(f"Columns per row are {list(columns_per_row)}; give one positive number for each row.")
    if row_weights is not None and len(row_weights) != len(columns_per_row):
        raise LayoutError(f"{len(columns_per_row)} rows have {len(row_weights)} weights; give one weight a row.")
    heights = divide(height, len(columns_per_row), weights=row_weights, gutter=gutter, step=step, what="rows")
    boxes: list[Box] = []
    for top, panel_height, count in zip(_starts(heights, gutter), heights, columns_per_row, strict=True):
        widths = divide(width, count, gutter=gutter, step=step, what="columns")
        boxes += [
            Box(left, top, panel_width, panel_height)
            for left, panel_width in zip(_starts(widths, gutter), widths, strict=True)
        ]
    return PanelLayout(width, height, tuple(boxes))


def custom(width: int, height: int, boxes: Iterable[Box], names: Sequence[str] = ()) -> PanelLayout:
    """Explicit boxes."""
    _check_canvas(width, height)
    return PanelLayout(width, height, tuple(boxes), tuple(names))


def divide(
    length: int,
    count: int,
    *,
    weights: Sequence[float] | None = None,
    gutter: int = 0,
    step: int = PANEL_STEP,
    what: str = "panels",
) -> tuple[int, ...]:
    """Divide a side into ``count`` lengths, multiples of ``step``, so that with the gutters nothing is left over.

    Raises:
        LayoutError: where that is impossible.
    """
    if step < 1:
        raise LayoutError(f"The panel step is {step}; it must be at least 1 px.")
    room = length - gutter * (count - 1)
    if room < count * max(step, SMALLEST_PANEL):
        raise LayoutError(
            f"{count} {what} with gutters of {gutter} px do not fit into {length} px; each needs at least "
            f"{max(step, SMALLEST_PANEL)} px. Use fewer {what}, narrower gutters or a larger canvas."
        )
    if room % step:
        nearest = [g for g in range(max(0, gutter - 64), gutter + 65) if (length - g * (count - 1)) % step == 0]
        advice = f"use a gutter of {_closest(nearest, gutter)} px" if nearest and count > 1 else "change the canvas"
        raise LayoutError(
            f"{count} {what} with gutters of {gutter} px leave {room} of {length} px, which is no multiple of "
            f"{step}; {advice}, or a smaller step."
        )
    units = room // step
    shares = list(weights) if weights is not None else [1.0] * count
    if any(share <= 0 for share in shares):
        raise LayoutError(f"Weights are {shares}; each must be positive.")
    smallest = -(-SMALLEST_PANEL // step)
    ideal = [units * share / sum(shares) for share in shares]
    given = [max(smallest, int(part)) for part in ideal]
    while sum(given) < units:  # largest remainder first; earlier panels win ties
        given[max(range(count), key=lambda i: (ideal[i] - given[i], -i))] += 1
    while sum(given) > units:  # only where a tiny weight was raised to the smallest panel
        given[max(range(count), key=lambda i: (given[i] - ideal[i] if given[i] > smallest else -math.inf, i))] -= 1
    return tuple(part * step for part in given)


def parse_boxes(text: str) -> tuple[tuple[Box, ...], tuple[str, ...]]:
    """Read boxes, one a line: ``left, top, width, height`` and optionally ``NAME:`` in front.

    Returns:
        The boxes and their names; no names when no line has one.

    Raises:
        LayoutError: naming the line that cannot be read.
    """
    boxes: list[Box] = []
    names: list[str] = []
    _check_length(text, "The boxes")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, separator, numbers = line.rpartition(":")
        try:
            left, top, width, height = (whole_number(part) for part in numbers.replace(",", " ").split())
        except ValueError:
            raise LayoutError(
                f"Line {number} is {shown(line.strip(), 80)}; expected 'left, top, width, height' in pixels, "
                "optionally with 'NAME:' in front."
            ) from None
        boxes.append(Box(left, top, width, height))
        if separator:
            names.append(name.strip().strip("[]"))
    if names and len(names) != len(boxes):
        raise LayoutError(f"{len(boxes)} boxes have {len(names)} names; name all of them or none.")
    return tuple(boxes), tuple(names)


def parse_counts(text: str) -> tuple[int, ...]:
    """Read columns per row, e.g. ``1, 2, 2``.

    Raises:
        LayoutError: where this is no list of positive numbers.
    """
    _check_length(text, "The columns per row")
    try:
        counts = tuple(whole_number(part) for part in text.replace(",", " ").split())
    except ValueError:
        counts = ()
    if not counts or any(count < 1 for count in counts):
        raise LayoutError(
            f"Columns per row are {shown(text, 80)}; expected positive numbers such as '1, 2' for two rows."
        )
    return counts


def whole_number(text: str) -> int:
    """A number as people write it.

    Raises:
        ValueError: where it is none, or has more than nine digits; no edge of a panel has.
    """
    if len(text.strip().lstrip("+-")) > 9:
        raise ValueError(f"{shown(text)} is not a number of pixels")
    return int(text)


def default_names(boxes: Sequence[Box]) -> tuple[str, ...]:
    """The names that published captions use for such panels: LEFT/RIGHT, TOP/BOTTOM, TOP-LEFT…, else SCENE-n."""
    tops = sorted({box.top for box in boxes})
    lefts = sorted({box.left for box in boxes})
    if len(boxes) == 2 and len(tops) == 1:
        return ("LEFT", "RIGHT") if boxes[0].left < boxes[1].left else ("RIGHT", "LEFT")
    if len(boxes) == 2 and len(lefts) == 1:
        return ("TOP", "BOTTOM") if boxes[0].top < boxes[1].top else ("BOTTOM", "TOP")
    if len(boxes) == 4 and len(tops) == 2 and len(lefts) == 2 and len({(box.top, box.left) for box in boxes}) == 4:
        return tuple(
            f"{('TOP', 'BOTTOM')[tops.index(box.top)]}-{('LEFT', 'RIGHT')[lefts.index(box.left)]}" for box in boxes
        )
    return tuple(f"SCENE-{number}" for number in range(1, len(boxes) + 1))


def snap_canvas(side: float) -> int:
    """The multiple of 64 nearest to a side, at least 64."""
    return max(CANVAS_STEP, round(side / CANVAS_STEP) * CANVAS_STEP)


def _check_canvas(width: int, height: int) -> None:
    for side, length in (("width", width), ("height", height)):
        if length < CANVAS_STEP or length % CANVAS_STEP:
            raise LayoutError(
                f"The canvas {side} is {length}; it must be a positive multiple of {CANVAS_STEP}, "
                f"for example {snap_canvas(length)}."
            )


def _between(span: tuple[int, int], top: int, bottom: int) -> Box:
    left, right = span
    return Box(left, top, right - left, bottom - top)


def _check_size(width: int, height: int, panels: int) -> None:
    """Bound what a layout from elsewhere can ask for, before anything is made of it.

    Raises:
        LayoutError: where it has too many panels, or the canvas is too large.
    """
    if panels > MOST_PANELS:
        raise LayoutError(f"The layout has {panels} panels; at most {MOST_PANELS} are possible. Remove panels.")
    for side, length in (("width", width), ("height", height)):
        if length > LONGEST_SIDE:
            raise LayoutError(
                f"The canvas {side} is {length}; at most {LONGEST_SIDE} px are possible. Make it smaller."
            )
    if width * height > LARGEST_AREA:
        raise LayoutError(
            f"The canvas of {width}×{height} has {width * height:,} pixels; at most {LARGEST_AREA:,} are possible, as in "
            "8192×8192. Make it smaller."
        )


def _check_name(name: str) -> None:
    if len(name) > LONGEST_NAME:
        raise LayoutError(
            f"The panel name {shown(name)} has {len(name)} characters; at most {LONGEST_NAME} are possible. Shorten it."
        )
    if not is_text(name):
        raise LayoutError(f"The panel name {shown(name)} holds a character that is not text. Write it anew.")


def _check_length(text: str, what: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise LayoutError(
            f"{what} have {len(text):,} characters; at most {LONGEST_TEXT:,} are read. Write fewer, or shorter ones."
        )


def _overlap(boxes: Sequence[Box]) -> tuple[int, int] | None:
    """Two boxes that overlap, by their indices in order; None where none do.

    A vertical line moves from left to right over the boxes' edges. Those that it crosses lie one below the other as long
    as none overlap, so a new one needs to be compared with its two neighbours only.
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


def _whole(value: Any) -> int:
    """A whole number of a recipe, also written as 64.0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1 << 31 or value % 1:
        raise ValueError(f"{shown(value)} is not a number of pixels")
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the name {shown(value)} is not a text")
    return value


def _starts(lengths: Sequence[int], gutter: int) -> list[int]:
    return [0, *accumulate(length + gutter for length in lengths[:-1])]


def _closest(values: Sequence[int], target: int) -> int:
    return min(values, key=lambda value: (abs(value - target), value))
