"""Colours as people write them."""

from __future__ import annotations

from PIL import ImageColor

from .errors import PanelError
from .stitch import Colour


def parse_colour(text: str) -> Colour:
    """``white``, ``#ff8800`` or ``255, 136, 0`` → floats in 0…1. Plain ``gray`` is the neutral half.

    Raises:
        PanelError: where it is none of these.
    """
    written = text.strip().lower()
    if written in ("gray", "grey", "neutral"):
        return (0.5, 0.5, 0.5)
    try:
        numbers = [int(part) for part in written.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 3 and all(0 <= number <= 255 for number in numbers):
        return (numbers[0] / 255, numbers[1] / 255, numbers[2] / 255)
    try:
        red, green, blue = ImageColor.getrgb(written)[:3]
    except ValueError:
        raise PanelError(
            f"The colour {text!r} is unknown. Write a name such as white, '#rrggbb', or 'red, green, blue' from 0 to 255."
        ) from None
    return (red / 255, green / 255, blue / 255)
