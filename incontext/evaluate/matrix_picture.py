"""The similarities of one set as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import ImageFont

_CELL = 96  # pixels
_MARGIN = 16
_INK = (32, 32, 32)
_PAPER = (255, 255, 255)
_UNLIKE, _ALIKE = (247, 244, 236), (16, 78, 139)


def matrix_picture(matrix: Tensor, names: Sequence[str], title: str, captions: Sequence[float | None] = ()) -> Tensor:
    """Draw the similarities of one set: names on the sides, a number in each cell; darker is more alike.

    Colours always range from 0 to 1, so that pictures of different sets can be compared.

    Args:
        matrix: [panels, panels].
        names: of the panels.
        title: one line above.
        captions: caption score of each panel, in a separate column; empty for no such column.

    Returns:
        [1, height, width, 3] in 0…1.
    """
    import numpy
    from PIL import Image, ImageDraw, ImageFont

    font, small = ImageFont.load_default(24), ImageFont.load_default(18)
    drawable = [_drawable(name, number) for number, name in enumerate(names, 1)]
    labels = [_shorten(name, small, 180) for name in drawable]
    headings = [*(_shorten(name, small, _CELL - 6) for name in drawable), *(["caption"] if captions else [])]
    count = len(names)
    left = _MARGIN + math.ceil(max(small.getlength(label) for label in labels)) + 12
    top = _MARGIN + 32 + 32
    wide = max(left + _CELL * count + (_CELL + 12 if captions else 0), math.ceil(small.getlength(title)) + _MARGIN)
    picture = Image.new("RGB", (wide + _MARGIN, top + _CELL * count + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, _MARGIN), title, font=small, fill=_INK)
    lefts = [left + _CELL * column + (12 if column == count else 0) for column in range(len(headings))]
    for x, heading in zip(lefts, headings, strict=True):
        draw.text((x + _CELL / 2, top - 8), heading, font=small, fill=_INK, anchor="ms")
    for row, label in enumerate(labels):
        y = top + _CELL * row
        draw.text((left - 12, y + _CELL / 2), label, font=small, fill=_INK, anchor="rm")
        values: list[float | None] = matrix[row].tolist()
        values[row] = None  # a panel's likeness to itself says nothing
        values += [captions[row]] if captions else []
        for x, value in zip(lefts, values, strict=True):
            colour = (225, 225, 225) if value is None else _shade(value)
            draw.rectangle((x, y, x + _CELL - 3, y + _CELL - 3), fill=colour)
            text = "-" if value is None else f"{value:.2f}"
            ink = _PAPER if sum(colour) < 384 else _INK
            draw.text((x + _CELL / 2 - 1, y + _CELL / 2 - 1), text, font=font, fill=ink, anchor="mm")
    return torch.from_numpy(numpy.asarray(picture).astype("float32") / 255)[None]


def _drawable(name: str, number: int) -> str:
    """The name, or the panel's number if Pillow's built-in font, which is Latin only, would draw empty boxes."""
    return name if all(ord(character) < 0x180 for character in name) else f"panel {number}"


def _shade(value: float) -> tuple[int, int, int]:
    share = min(1.0, max(0.0, value))
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(_UNLIKE, _ALIKE, strict=True))
    return red, green, blue


def _shorten(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: float) -> str:
    """The text, shortened in the middle if it is too wide, since names often differ at their end."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shortened = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
        if font.getlength(shortened) <= width:
            return shortened
    return "…"
