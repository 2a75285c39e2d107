"""Small flat drawings for the templates' thumbnails: people, places and things, each on a picture of its own.

Sizes are pixels; a drawing fills the picture that it is asked for, and looks the same at any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Size = tuple[int, int]
INK, PAPER, ACCENT = (44, 42, 52), (246, 244, 239), (124, 92, 214)
_OVER = 3  # drawn so many times as large, and scaled down


@dataclass(frozen=True)
class Person:
    """What stays the same from panel to panel."""

    skin: Colour = (238, 190, 160)
    hair: Colour = (74, 46, 40)
    shirt: Colour = (214, 84, 72)
    long_hair: bool = False
    drawn: bool = False
    """An illustration: with outlines."""


ANNA = Person(long_hair=True)
LEO = Person((226, 172, 136), (38, 36, 44), (62, 116, 170))


def shade(colour: Colour, factor: float) -> Colour:
    """The colour, darker for a factor below 1."""
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue


class Pen:
    """Draws in hundredths of a picture's shorter side, from its centre."""

    def __init__(self, size: Size, ground: Colour) -> None:
        self._size = size
        self.picture = Image.new("RGB", (size[0] * _OVER, size[1] * _OVER), ground)
        self._draw = ImageDraw.Draw(self.picture, "RGBA")
        self._unit = min(size) * _OVER / 100
        self.width, self.height = size[0] * 100 / min(size), size[1] * 100 / min(size)

    def _at(self, points: Sequence[float]) -> list[float]:
        half = (self.picture.width / 2, self.picture.height / 2)
        return [half[index % 2] + value * self._unit for index, value in enumerate(points)]

    def oval(
        self, x: float, y: float, rx: float, ry: float, fill: Colour | tuple[int, ...], line: Colour | None = None
    ) -> None:
        width = round(1.6 * self._unit) if line else 0
        self._draw.ellipse(self._at((x - rx, y - ry, x + rx, y + ry)), fill=fill, outline=line, width=width)

    def box(self, x: float, y: float, w: float, h: float, fill: Colour | tuple[int, ...], radius: float = 0) -> None:
        """Centred at x, y."""
        self._draw.rounded_rectangle(
            self._at((x - w / 2, y - h / 2, x + w / 2, y + h / 2)), radius * self._unit, fill=fill
        )

    def shape(self, points: Sequence[float], fill: Colour | tuple[int, ...], line: Colour | None = None) -> None:
        self._draw.polygon(self._at(points), fill=fill)
        if line:
            self.line([*points, *points[:2]], line, 1.6)

    def line(self, points: Sequence[float], fill: Colour | tuple[int, ...], width: float) -> None:
        self._draw.line(self._at(points), fill=fill, width=max(1, round(width * self._unit)), joint="curve")

    def arc(self, x: float, y: float, r: float, start: float, end: float, fill: Colour, width: float) -> None:
        self._draw.arc(self._at((x - r, y - r, x + r, y + r)), start, end, fill=fill, width=round(width * self._unit))

    def text(self, x: float, y: float, text: str, size: float, fill: Colour) -> None:
        font = ImageFont.load_default(size * self._unit)
        left, top = self._at((x, y))
        self._draw.text((left, top), text, font=font, fill=fill, anchor="mm")

    def done(self) -> Image.Image:
        return self.picture.resize(self._size, Image.Resampling.LANCZOS)


def portrait(
    size: Size, person: Person, ground: Colour, *, near: float = 1.0, turn: float = 0.0, effect: str = ""
) -> Image.Image:
    """A person from the chest up; ``near`` enlarges, ``turn`` moves the face to a side."""
    pen = Pen(size, ground)
    line = INK if person.drawn else None
    n = near

    def oval(x: float, y: float, rx: float, ry: float, fill: Colour, edge: Colour | None = line) -> None:
        pen.oval(x * n, 6 + y * n, rx * n, ry * n, fill, edge)

    if person.long_hair:
        oval(0, -4, 23, 30, person.hair)
    oval(0, 54, 36, 36, person.shirt)
    oval(0, 18, 7, 12, shade(person.skin, 0.92), None)
    oval(turn * 2, -8, 17, 21, person.skin)
    pen.shape(
        [
            v * n + (0, 6)[i % 2]
            for i, v in enumerate((-19, -10, -15, -27, 0, -33, 15, -27, 19, -10, 10 + turn * 3, -20, -6, -21))
        ],
        person.hair,
        line,
    )
    for side in (-7, 7):
        oval(side + turn * 4, -6, 1.9, 2.3, INK, None)
    pen.arc(turn * 4 * n, 6 + 1 * n, 6 * n, 25, 155, (170, 70, 70), 1.7 * n)
    if effect == "sparks":
        _sparks(pen)
    return pen.done()


def _sparks(pen: Pen) -> None:
    for radius, start in ((38, 200), (27, 20)):
        pen.arc(0, 0, radius, start, start + 150, (255, 214, 90), 2)
        pen.arc(0, 0, radius + 2.5, start + 30, start + 120, (255, 240, 190), 1)
    for x, y in ((-36, -12), (30, 24), (12, -38), (-14, 34), (38, -6)):
        for dx, dy in ((5, 0), (0, 5), (3.5, 3.5), (3.5, -3.5)):
            pen.line((x - dx, y - dy, x + dx, y + dy), (255, 232, 150), 1)


def scene(
    size: Size, *, sky: Colour = (150, 196, 228), land: Colour = (118, 160, 104), storm: bool = False
) -> Image.Image:
    """Hills with a road, a house and the sun; in a sandstorm if ``storm``."""
    pen = Pen(size, sky)
    w, h = pen.width, pen.height
    pen.oval(w * 0.28, -h * 0.24, 9, 9, (250, 226, 140))
    pen.oval(-w * 0.3, h * 0.42, w * 0.5, h * 0.4, shade(land, 0.85))
    pen.oval(w * 0.3, h * 0.55, w * 0.6, h * 0.45, land)
    pen.box(-14, 6, 22, 20, (244, 236, 222))
    pen.shape((-28, -3, -14, -16, 0, -3), (178, 82, 66))
    pen.box(-14, 11, 6, 10, (112, 84, 70))
    if storm:
        pen.box(0, 0, w, h, (206, 164, 104, 150))
        for number in range(9):
            y = -h / 2 + h * (number + 0.5) / 9
            pen.oval((number * 37 % 60) - 30, y, w * 0.42, 5, (226, 190, 132, 130))
    return pen.done()


def logo(size: Size, ground: Colour = (255, 255, 255), colour: Colour = (34, 138, 112)) -> Image.Image:
    pen = Pen(size, ground)
    _logo(pen, 0, 0, 1, colour)
    return pen.done()


def _logo(pen: Pen, x: float, y: float, scale: float, colour: Colour) -> None:
    pen.oval(x, y, 26 * scale, 26 * scale, colour)
    pen.shape(
        [
            x - 14 * scale,
            y + 12 * scale,
            x - 6 * scale,
            y - 14 * scale,
            x + 16 * scale,
            y - 14 * scale,
            x + 6 * scale,
            y + 10 * scale,
        ],
        (246, 250, 244),
    )
    pen.line((x - 14 * scale, y + 12 * scale, x + 12 * scale, y - 11 * scale), colour, 2.4 * scale)


def mug(size: Size, ground: Colour = (236, 226, 210), colour: Colour = (34, 138, 112)) -> Image.Image:
    """A mug that carries the logo."""
    pen = Pen(size, ground)
    pen.oval(0, 36, 38, 6, shade(ground, 0.88))
    pen.arc(24, 2, 19, -80, 80, (250, 250, 248), 6)
    pen.box(-3, 4, 54, 62, (250, 250, 248), 7)
    _logo(pen, -3, 6, 0.66, colour)
    return pen.done()


def garment(size: Size, ground: Colour = (250, 250, 250), colour: Colour = (236, 166, 48)) -> Image.Image:
    pen = Pen(size, ground)
    pen.shape(
        (-16, -30, -38, -14, -28, 6, -20, 0, -20, 38, 20, 38, 20, 0, 28, 6, 38, -14, 16, -30, 8, -24, -8, -24), colour
    )
    for y in (-6, 8, 22):
        pen.box(0, y, 40, 4, (255, 244, 214))
    return pen.done()


def wearer(size: Size, ground: Colour, person: Person, stripes: bool) -> Image.Image:
    """A person whose shirt is plain, or the striped garment."""
    pen = Pen(size, ground)
    pen.shape((-15, 2, -34, 18, -30, 60, 30, 60, 34, 18, 15, 2), person.shirt)
    for y in (18, 31, 44) if stripes else ():
        pen.box(0, y, 46, 4, (255, 244, 214))
    if person.long_hair:
        pen.oval(0, -22, 18, 24, person.hair)
    pen.oval(0, 0, 5.5, 8, person.skin)
    pen.oval(0, -24, 13, 16, person.skin)
    pen.shape((-14, -26, -11, -38, 0, -43, 11, -38, 14, -26, 6, -33, -5, -34), person.hair)
    for side in (-5, 5):
        pen.oval(side, -22, 1.5, 1.8, INK)
    pen.arc(0, -18, 5, 25, 155, (170, 70, 70), 1.4)
    return pen.done()


def room(size: Size, what: str) -> Image.Image:
    """One room of a home: sofa, bed, table or lamp, in one style."""
    wall, floor, wood, cloth = (226, 232, 224), (204, 178, 146), (150, 108, 74), (92, 138, 128)
    pen = Pen(size, wall)
    pen.box(0, pen.height / 2 - 10, pen.width, 24, floor)
    if what == "sofa":
        pen.box(0, 10, 66, 22, cloth, 6)
        pen.box(0, 24, 74, 16, shade(cloth, 0.85), 5)
        pen.box(0, -24, 34, 20, (250, 246, 236))
        pen.oval(0, -24, 6, 6, (220, 150, 96))
    elif what == "bed":
        pen.box(-28, 4, 6, 44, wood, 2)
        pen.box(4, 20, 62, 18, cloth, 4)
        pen.box(-16, 8, 20, 10, (250, 246, 236), 4)
    elif what == "table":
        pen.box(0, 6, 66, 5, wood, 2)
        for x in (-27, 27):
            pen.box(x, 24, 4, 34, wood)
        pen.box(0, -3, 10, 14, cloth, 3)
        pen.oval(0, -16, 10, 9, (110, 158, 96))
    else:
        pen.line((0, -50, 0, -22), INK, 1.2)
        pen.shape((-16, -10, -8, -24, 8, -24, 16, -10), cloth)
        pen.oval(0, -8, 6, 4, (255, 232, 160))
        pen.box(0, 30, 40, 18, wood, 3)
    return pen.done()


def slide(size: Size, what: str) -> Image.Image:
    blue, sand = (46, 74, 140), (236, 190, 92)
    pen = Pen(size, (250, 250, 252))
    w, h = pen.width, pen.height
    pen.box(0, -h / 2 + 5, w, 10, blue)
    pen.oval(w / 2 - 6, h / 2 - 6, 14, 14, sand)
    if what == "title":
        pen.box(-w * 0.1, -6, w * 0.56, 12, blue, 2)
        pen.box(-w * 0.16, 12, w * 0.44, 6, (170, 178, 200), 2)
    elif what == "bars":
        for number, high in enumerate((18, 32, 26, 44)):
            pen.box(-33 + number * 19, 32 - high / 2, 11, high, blue if number % 2 else sand, 1)
    elif what == "text":
        for number in range(5):
            pen.box(-w * 0.08 - (number % 2) * 4, -20 + number * 12, w * 0.66 - (number % 2) * 8, 5, (150, 158, 184), 2)
    else:
        pen.oval(0, 6, 27, 27, blue)
        pen.oval(0, 6, 13, 13, (250, 250, 252))
        pen.arc(0, 6, 27, -90, 20, sand, 14)
    return pen.done()


def letters(size: Size, text: str, ground: Colour, colour: Colour) -> Image.Image:
    pen = Pen(size, ground)
    for dx in (-1.2, 0, 1.2):
        pen.text(dx, -2, text, 46 if len(text) < 3 else 28, colour)
    pen.line((-26, 26, -8, 22, 8, 26, 26, 22), colour, 4)
    return pen.done()


def still(
    size: Size, thing: str, colour: Colour, ground: Colour = (232, 226, 216), *, masked: bool = False
) -> Image.Image:
    """A table with one thing on it: a vase, a ball, or what is masked."""
    pen = Pen(size, ground)
    pen.box(0, pen.height / 2 - 11, pen.width, 24, (188, 150, 112))
    if thing == "vase":
        pen.shape((-6, -26, 6, -26, 5, -12, 17, 8, 12, 30, -12, 30, -17, 8, -5, -12), colour)
    elif thing == "ball":
        pen.oval(0, 12, 19, 19, colour)
        pen.oval(-6, 6, 5, 5, (255, 255, 255, 120))
    if masked:
        pen.oval(0, 4, 27, 32, (255, 255, 255, 150))
        for angle in range(0, 360, 30):
            pen.arc(0, 4, 29, angle, angle + 16, INK, 1.5)
    return pen.done()


def older(person: Person) -> Person:
    """The same person as an illustration."""
    return replace(person, drawn=True, skin=(250, 214, 190), shirt=(126, 104, 200))
