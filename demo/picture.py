"""The demo's pictures: base against LoRA, and what several LoRAs make of the same captions."""

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
_SEAM, _BETWEEN = 6, 44  # between the panels of a set, and between columns
_FRAME = (206, 200, 188)
_INK = (40, 40, 46)
_FAINT = (120, 118, 112)


def before_after(
    captions: Sequence[str], columns: Sequence[tuple[str, Sequence[np.ndarray]]], path: Path, title: str = ""
) -> None:
    """Draw generated sets side by side, one row per caption.

    Args:
        captions: one per row.
        columns: heading and pictures (uint8 [PANEL, PANEL * panels, 3], one per row) of each column.
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


Column = tuple[str, str, np.ndarray | None, Sequence[np.ndarray]]


def side_by_side(
    captions: Sequence[str],
    columns: Sequence[Column],
    path: Path,
) -> None:
    """Draw what each LoRA makes of the same captions: one column per LoRA, one row per caption.

    Args:
        captions: one per row.
        columns: heading, line below it, one of the sets that the LoRA was trained on (None for the base model), and the
            generated sets, one per caption. All pictures are uint8 [PANEL, PANEL * panels, 3].
        path: JPEG or PNG to write.
    """
    side = world.PANEL * _SCALE
    width = world.PANELS * side + (world.PANELS - 1) * _SEAM
    top = _MARGIN + 74 + side + _LINE + 34
    total = (
        2 * _MARGIN + len(columns) * width + (len(columns) - 1) * _BETWEEN,
        top + len(captions) * (side + _LINE + _GAP) + _MARGIN - _GAP,
    )
    sheet = Image.new("RGB", total, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for place, (heading, remark, example, pictures) in enumerate(columns):
        left = _MARGIN + place * (width + _BETWEEN)
        draw.text((left, _MARGIN), heading, fill=_INK, font=ImageFont.load_default(26))
        draw.text((left, _MARGIN + 36), remark, fill=_FAINT, font=ImageFont.load_default(16))
        if example is not None:
            _paste_panels(sheet, example, left, _MARGIN + 74, _FRAME)
            note = "one of the 40 sets that it learned from"
            draw.text((left, _MARGIN + 74 + side + 4), note, fill=_FAINT, font=ImageFont.load_default(15))
        else:
            text = "Captions name shapes and nothing else.\nA row has one caption and one seed."
            draw.text((left, _MARGIN + 86), text, fill=_FAINT, font=ImageFont.load_default(16), spacing=8)
        for row, picture in enumerate(pictures):
            height = top + row * (side + _LINE + _GAP)
            _paste_panels(sheet, picture, left, height, None)
            draw.text((left, height + side + 4), captions[row], fill=_FAINT, font=ImageFont.load_default(15))
    draw.line((_MARGIN, top - 18, total[0] - _MARGIN, top - 18), fill=_FRAME, width=2)
    sheet.save(path, quality=90)


def _paste_panels(
    sheet: Image.Image, picture: np.ndarray, left: int, top: int, frame: tuple[int, int, int] | None
) -> None:
    """Paste a set as cards with round corners, a little apart."""
    side = world.PANEL * _SCALE
    fine = Image.new("L", (4 * side, 4 * side), 0)
    ImageDraw.Draw(fine).rounded_rectangle((0, 0, 4 * side - 1, 4 * side - 1), 4 * 9, fill=255)
    corners = fine.resize((side, side), Image.Resampling.BOX)
    for place in range(world.PANELS):
        panel = picture[:, place * world.PANEL : (place + 1) * world.PANEL]
        enlarged = Image.fromarray(panel).resize((side, side), Image.Resampling.LANCZOS)
        x = left + place * (side + _SEAM)
        sheet.paste(enlarged, (x, top), corners)
        if frame is not None:
            box = (x, top, x + side - 1, top + side - 1)
            ImageDraw.Draw(sheet).rounded_rectangle(box, 9, outline=frame, width=2)
