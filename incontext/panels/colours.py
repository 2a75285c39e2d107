"""Read colours that a user wrote."""

from __future__ import annotations

from ..errors import PanelError
from ..files.strict_json import shown

Colour = tuple[float, float, float]  # red, green, blue in 0…1
WHITE: Colour = (1.0, 1.0, 1.0)

LONGEST = 100  # characters, Pillow's own limit


def parse_colour(text: str) -> Colour:
    """``white``, ``#ff8800`` or ``255, 136, 0`` → floats in 0…1. ``gray`` is exactly 0.5.

    Raises:
        PanelError: if the text is not a colour.
    """
    written = text.strip().lower() if len(text) <= LONGEST else ""
    if written in ("gray", "grey", "neutral"):
        return (0.5, 0.5, 0.5)
    levels = _levels(written)
    if levels is None or not all(0 <= level <= 255 for level in levels):
        raise PanelError(
            f"The colour {shown(text)} is unknown. Write a name such as white, '#rrggbb', or 'red, green, blue' from 0 to "
            "255."
        )
    red, green, blue = levels
    return (red / 255, green / 255, blue / 255)


def _levels(written: str) -> tuple[int, ...] | None:
    """Red, green and blue; None if the text is not a colour. Levels above 255 are possible, as Pillow reads 120 %."""
    try:
        if written.count(",") == 2 and "(" not in written:
            return tuple(int(part) for part in written.split(","))
        from PIL import ImageColor  # most colours are defaults, which need no Pillow

        return ImageColor.getrgb(written)[:3]
    except ValueError:
        return None
