"""The contact sheet: all sets of a dataset at a glance, in one JPEG of bounded size."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..files.images import open_image
from .report import on_one_line

LARGEST = (2048, 4096)  # width and height
_CELL, _SMALLEST = 256, 64  # the longer side of a thumbnail
_GAP, _LABEL = 8, 16
_LONGEST = 80  # characters of a label; no thumbnail has room for more
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_PAPER, _INK = (250, 250, 250), (40, 40, 40)


def contact_sheet(thumbnails: Iterable[tuple[str, Path]], count: int, proportions: float) -> bytes:
    """A JPEG with a labelled thumbnail of each image.

    Args:
        thumbnails: label and file; opened one after another.
        count: how many there are. Those beyond what fits are left out, and their number is written instead.
        proportions: width by height of the images.
    """
    width, height, columns, rows = _grid(count, proportions)
    room = columns * rows
    shown = count if count <= room else room - 1  # the last cell says how many are missing
    used_rows = math.ceil(min(count, room) / columns)
    size = (_GAP + columns * (width + _GAP), _GAP + used_rows * (height + _LABEL + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for number, (label, path) in enumerate(thumbnails):
        left = _GAP + number % columns * (width + _GAP)
        top = _GAP + number // columns * (height + _LABEL + _GAP)
        if number == shown:
            _write(draw, (left, top), f"+ {count - shown}", width, font)
            break
        with open_image(path) as image:
            small = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2)
            sheet.paste(small, (left, top))
        _write(draw, (left, top + height + 1), on_one_line(f"{number + 1}  {label[:_LONGEST]}"), width, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def read(path: Path) -> Tensor:
    """A contact sheet as [1, height, width, 3] in 0…1."""
    with open_image(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).float().div_(255)[None]


def _grid(count: int, proportions: float) -> tuple[int, int, int, int]:
    """Thumbnail width and height, columns and rows: the largest thumbnails with which all fit, if they can."""
    cell = _CELL
    while True:
        width = max(1, round(cell * min(1.0, proportions)))
        height = max(1, round(cell / max(1.0, proportions)))
        most_columns = max(1, (LARGEST[0] - _GAP) // (width + _GAP))
        rows = max(1, (LARGEST[1] - _GAP) // (height + _LABEL + _GAP))
        wanted = math.ceil(math.sqrt(count * (height + _LABEL) / width))  # about a square sheet
        columns = max(1, min(most_columns, max(wanted, math.ceil(count / rows))))
        if columns * rows >= count or cell <= _SMALLEST:
            return width, height, columns, rows
        cell = max(_SMALLEST, cell * 7 // 8)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, room: int, font: _Font) -> None:
    """Text in one line, shortened to the room; letters that the font lacks become question marks."""
    if not isinstance(font, ImageFont.FreeTypeFont):
        text = text.encode("latin-1", "replace").decode("latin-1")
    while len(text) > 1 and draw.textlength(text, font=font) > room:
        text = text[:-1]
    draw.text(place, text, fill=_INK, font=font)
