"""Build layouts: rows, columns, grids, rows with different numbers of columns, or explicit boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

from ..errors import LayoutError
from ..files.strict_json import shown
from .box import Box
from .choices import LayoutKind
from .layout import PanelLayout, check_length, check_size

CANVAS_STEP = 64  # px; every published LoRA was trained on a canvas whose sides are multiples of it
PANEL_STEP = 16  # px: 8 per latent pixel, 2 latent pixels per patch
SMALLEST_PANEL = 16  # px, either side


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
    """The layout that the widgets of Panel Layout describe. Arguments that ``kind`` does not use are ignored.

    Args:
        kind: value of a `LayoutKind`.
        width, height: canvas, in pixels; multiples of 64.
        rows, columns: counts for rows, columns and grids.
        columns_per_row: for nested rows, as `parse_counts` reads it.
        gutter: pixels between panels.
        panel_step: panel sides are multiples of it, in pixels.
        boxes: as `parse_boxes` reads them.
        names: comma-separated panel names; empty for the default ones.

    Raises:
        LayoutError: if a text cannot be read, or the canvas cannot be divided like this.
    """
    if kind not in {each.value for each in LayoutKind}:
        raise LayoutError(
            f"There is no layout kind {shown(kind)}. Choose from {', '.join(k.value for k in LayoutKind)}."
        )
    try:
        step = whole_number(str(panel_step))
    except ValueError:
        raise LayoutError(f"The panel step is {shown(panel_step)}; expected pixels, such as 16.") from None
    if kind in (LayoutKind.ROWS.value, LayoutKind.GRID.value):
        check_size(width, height, rows)
    match LayoutKind(kind):
        case LayoutKind.ROWS:
            layout = nested(width, height, [1] * rows, gutter=gutter, step=step)
        case LayoutKind.COLUMNS:
            layout = nested(width, height, [columns], gutter=gutter, step=step)
        case LayoutKind.GRID:
            layout = nested(width, height, [columns] * rows, gutter=gutter, step=step)
        case LayoutKind.NESTED:
            layout = nested(width, height, parse_counts(columns_per_row), gutter=gutter, step=step)
        case LayoutKind.BOXES:
            if not boxes.strip():
                raise LayoutError(
                    "The kind is 'boxes', but there are no boxes. Write one 'left, top, width, height' per line."
                )
            layout = custom(width, height, *parse_boxes(boxes))
    check_length(names, "The panel names")
    written = [name.strip().strip("[]") for name in names.split(",") if name.strip()]
    return layout.named(written) if written else layout


def rows(width: int, height: int, count: int, *, gutter: int = 0, step: int = PANEL_STEP) -> PanelLayout:
    """``count`` panels, one below the other."""
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
        step: panel sides are multiples of it, in pixels. If they do not divide evenly, the first panels are larger.

    Raises:
        LayoutError: if the canvas cannot be divided like this.
    """
    _check_canvas(width, height)
    check_size(width, height, sum(columns_per_row))
    if not columns_per_row or any(count < 1 for count in columns_per_row):
        raise LayoutError(f"Columns per row are {list(columns_per_row)}; give one positive number for each row.")
    if row_weights is not None and len(row_weights) != len(columns_per_row):
        raise LayoutError(f"{len(columns_per_row)} rows have {len(row_weights)} weights; give one weight per row.")
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
    """Explicit boxes.

    Raises:
        LayoutError: if the canvas, the boxes or the names cannot be used.
    """
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
    """Divide a side into ``count`` lengths, multiples of ``step`` px, which fill it together with the gutters.

    Raises:
        LayoutError: if that is impossible.
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
            f"{count} {what} with gutters of {gutter} px leave {room} of {length} px, which is not a multiple of "
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
    """Read boxes, one per line: ``left, top, width, height`` and optionally ``NAME:`` in front.

    Returns:
        The boxes and their names; no names when no line has one.

    Raises:
        LayoutError: if a line cannot be read, or only some boxes have names.
    """
    boxes: list[Box] = []
    names: list[str] = []
    check_length(text, "The boxes")
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
        LayoutError: if the text is not a list of positive numbers.
    """
    check_length(text, "The columns per row")
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
    """Read a whole number of at most nine digits.

    Raises:
        ValueError: if the text is anything else.
    """
    if len(text.strip().lstrip("+-")) > 9:
        raise ValueError(f"{shown(text)} is not a number of pixels")
    return int(text)


def snap_canvas(side: float) -> int:
    """The multiple of 64 px nearest to a side, at least 64."""
    return max(CANVAS_STEP, round(side / CANVAS_STEP) * CANVAS_STEP)


def _check_canvas(width: int, height: int) -> None:
    for side, length in (("width", width), ("height", height)):
        if length < CANVAS_STEP or length % CANVAS_STEP:
            raise LayoutError(
                f"The canvas {side} is {length}; it must be a positive multiple of {CANVAS_STEP}, "
                f"for example {snap_canvas(length)}."
            )


def _starts(lengths: Sequence[int], gutter: int) -> list[int]:
    return [0, *accumulate(length + gutter for length in lengths[:-1])]


def _closest(values: Sequence[int], target: int) -> int:
    return min(values, key=lambda value: (abs(value - target), value))
