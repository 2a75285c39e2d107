"""Draw `training-curve.png` from the records beside the weights.

python -m demo.training_curve
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .models import WEIGHTS

SIZE = (900, 340)
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 40, 20, 40
_INK, _FAINT = (40, 40, 46), (215, 212, 205)
_COLOURS = (
    (40, 80, 200),
    (214, 40, 40),
    (46, 150, 70),
    (160, 50, 170),
    (242, 172, 20),
    (40, 40, 46),
    (120, 120, 130),
    (0, 150, 150),
)


def joined(parts: Sequence[dict]) -> list[list[tuple[int, float]]]:
    """The curves of stages one after another: (step over all, loss)."""
    offset, curves = 0, []
    for part in parts:
        curves.append([(offset + point["step"], point["loss"]) for point in part["curve"]])
        offset += part["steps"]
    return curves


def draw(curves: Sequence[Sequence[tuple[int, float]]], title: str) -> Image.Image:
    """Loss by step on a logarithmic axis, one colour a stage."""
    image = Image.new("RGB", SIZE, (255, 255, 255))
    pen = ImageDraw.Draw(image)
    points = [point for curve in curves for point in curve]
    last = max(step for step, _ in points)
    low, high = (math.log10(bound(loss for _, loss in points)) for bound in (min, max))

    def place(step: float, loss: float) -> tuple[float, float]:
        x = _LEFT + step / last * (SIZE[0] - _LEFT - _RIGHT)
        y = _TOP + (high - math.log10(loss)) / (high - low) * (SIZE[1] - _TOP - _BOTTOM)
        return x, y

    for mark in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0):
        if low <= math.log10(mark) <= high:
            _, y = place(0, mark)
            pen.line((_LEFT, y, SIZE[0] - _RIGHT, y), fill=_FAINT)
            pen.text((_LEFT - 8, y), f"{mark:g}", fill=_INK, anchor="rm", font=ImageFont.load_default(12))
    for curve, colour in zip(curves, itertools.cycle(_COLOURS), strict=False):
        pen.line([place(*point) for point in curve], fill=colour, width=2)
    pen.text((_LEFT, 12), title, fill=_INK, font=ImageFont.load_default(15))
    pen.text((SIZE[0] - _RIGHT, SIZE[1] - 22), f"{last} steps", fill=_INK, anchor="ra", font=ImageFont.load_default(12))
    return image


def main() -> None:
    def record(name: str) -> dict:
        return json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))

    sheet = Image.new("RGB", (SIZE[0], 2 * SIZE[1]), (255, 255, 255))
    transformer = draw(joined(record("transformer")["stages"]), "transformer: velocity loss, one colour a stage")
    autoencoder = draw(joined(record("autoencoder")["phases"]), "autoencoder: loss, one colour a phase")
    sheet.paste(transformer, (0, 0))
    sheet.paste(autoencoder, (0, SIZE[1]))
    sheet.save(Path(__file__).parent / "training-curve.png", optimize=True)


if __name__ == "__main__":
    main()
