"""The grid of one caption as a picture: a row per candidate, a column per seed, a score below each set."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE = 384  # pixels of the longer side of a set in the grid
_MARGIN = 16
_GAP = 8
_LINE = 22  # pixels from line to line
_LABEL = 240  # pixels for the names of candidates
_LINES = 4  # of the caption; a longer one is cut
_INK, _FAINT = (32, 32, 32), (110, 110, 110)
_PAPER, _CHOSEN = (255, 255, 255), (226, 240, 255)


@dataclass(frozen=True, slots=True)
class Row:
    """The row of one candidate.

    Attributes:
        label: its name.
        notes: text below each of its sets, one per seed.
        chosen: whether the row is highlighted.
    """

    label: str
    notes: tuple[str, ...]
    chosen: bool = False


def grid_picture(
    caption: str, rows: Sequence[Row], seeds: Sequence[int], open_cell: Callable[[int, int], Image.Image]
) -> Image.Image:
    """Draw a grid.

    Args:
        caption: the text above it; a long one is cut.
        rows: from top to bottom.
        seeds: from left to right.
        open_cell: row, column → its picture. It is called once per cell, so only one picture is in memory at a time.

    Returns:
        RGB. Grids of the same candidates, seeds and canvas have the same size.
    """
    font = ImageFont.load_default(16)
    first = _small(open_cell(0, 0))
    width, height = first.size
    left, top = _MARGIN + _LABEL, _MARGIN + _LINE * (_LINES + 1) + _GAP
    step = height + _LINE + _GAP
    size = (left + (width + _GAP) * len(seeds) + _MARGIN, top + step * len(rows) + _MARGIN)
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    letters = max(10, math.floor((size[0] - 2 * _MARGIN) / font.getlength("x")))
    for number, line in enumerate(_wrapped(caption, letters)):
        draw.text((_MARGIN, _MARGIN + number * _LINE), line, font=font, fill=_INK)
    for column, seed in enumerate(seeds):
        draw.text((left + (width + _GAP) * column, top - _LINE), f"seed {seed}", font=font, fill=_FAINT)
    for number, row in enumerate(rows):
        y = top + step * number
        if row.chosen:
            draw.rectangle((_MARGIN // 2, y - _GAP // 2, size[0] - _MARGIN // 2, y + step - _GAP), fill=_CHOSEN)
        for line, part in enumerate(textwrap.wrap(_drawable(row.label, f"candidate {number + 1}"), 26)[:6]):
            draw.text((_MARGIN, y + line * _LINE), part, font=font, fill=_INK)
        for column in range(len(seeds)):
            x = left + (width + _GAP) * column
            picture.paste(first if (number, column) == (0, 0) else _small(open_cell(number, column)), (x, y))
            draw.text((x, y + height + 2), row.notes[column], font=font, fill=_FAINT)
    return picture


def _small(picture: Image.Image) -> Image.Image:
    small = picture.convert("RGB")
    scale = SIDE / max(small.size)
    if scale < 1:
        small = small.resize([max(1, round(side * scale)) for side in small.size], Image.Resampling.LANCZOS)
    return small


def _wrapped(caption: str, letters: int) -> list[str]:
    lines = textwrap.wrap(_drawable(caption, "(caption in another script)"), letters) or [""]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], lines[_LINES - 1][: letters - 1] + "…"]
    return lines


def _drawable(text: str, instead: str) -> str:
    """The text, or ``instead`` if Pillow's built-in font, which is Latin only, would draw empty boxes."""
    return (
        text if all(ord(character) < 0x2100 and not 0x180 <= ord(character) < 0x2000 for character in text) else instead
    )
