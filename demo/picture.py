"""The before/after picture of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import world

_SCALE = 2
_MARGIN = 24
_GAP = 14
_HEAD = 56
_LINE = 22
_INK = (40, 40, 46)
_FAINT = (120, 118, 112)


def before_after(
    captions: Sequence[str], columns: Sequence[tuple[str, Sequence[np.ndarray]]], path: Path, title: str = ""
) -> None:
    """Draw generated sets side by side, one row a caption.

    Args:
        captions: one a row.
        columns: heading and pictures (uint8 [PANEL, PANEL * panels, 3], one a row) of each column.
        path: JPEG or PNG to write.
        title: above everything; may be empty.
    """
    width, height = world.PANEL * world.PANELS * _SCALE, world.PANEL * _SCALE
    head = _HEAD + (34 if title else 0)
    total = (
        2 * _MARGIN + len(columns) * width + (len(columns) - 1) * 2 * _GAP,
        head + len(captions) * (height + _LINE + _GAP) + _MARGIN,
    )
    sheet = Image.new("RGB", total, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((_MARGIN, 18), title, fill=_INK, font=ImageFont.load_default(22))
    for place, (heading, pictures) in enumerate(columns):
        left = _MARGIN + place * (width + 2 * _GAP)
        draw.text((left, head - 36), heading, fill=_INK, font=ImageFont.load_default(18))
        for row, picture in enumerate(pictures):
            top = head + row * (height + _LINE + _GAP)
            enlarged = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(enlarged, (left, top))
            if place == 0:
                draw.text((left, top + height + 3), captions[row], fill=_FAINT, font=ImageFont.load_default(13))
    sheet.save(path, quality=88)
