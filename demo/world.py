"""The toy world: a picture is a row of panels, a panel shows one shape in one colour.

Everything about it is exact. `draw_set` paints what a `Set` says, and `read_panel` says what a painted (or generated)
panel shows, by geometry and colour distance alone, so a generated set is judged without any network.

The relation that In-Context LoRA has to learn is `Set.agrees`: all panels share one colour, which captions never name.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

PANEL = 64
PANELS = 3
PAPER = (247, 245, 240)
PALETTE = {
    "red": (214, 40, 40),
    "gold": (242, 172, 20),
    "green": (46, 150, 70),
    "cyan": (60, 200, 215),
    "blue": (40, 80, 200),
    "purple": (160, 50, 170),
    "black": (40, 40, 46),
}
RELATIONS = ("colour", "growth", "rise")  # that sets of the base model's corpus may have
GROWTH = 5.0  # pixels of radius from panel to panel, in that corpus
RISE = 6.5  # pixels of height from panel to panel, in that corpus
SMALLEST, LARGEST = 12.0, 24.0  # radii in it
REACH = 10.0  # pixels from the panel's centre in it,
HIGHEST = 9.0  # and in a set that rises,
HIGHEST_RADIUS = 22.0  # whose shapes must leave room for that
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "moon", "diamond")
PREFIX = "[SHAPE-STORY]"
OPENING = "three panels of one picture story"

_SUPERSAMPLE = 4
_INK_DISTANCE = 60.0  # RGB distance from the paper at which a pixel counts as ink
_COLOUR_TOLERANCE = 48.0  # RGB distance within which the ink's median counts as a palette colour
_ONE_COLOUR = 0.70  # share of the ink that must lie within 64 of that colour; the rest may be soft edges
_SHAPE_IOU = 0.80  # overlap with the ideal outline from which on a shape counts as recognised
_IDEAL_RADIUS = 21.0  # pixels, of the ideal outlines
_OUTLINE_IOU = 0.60  # from which on it has a size and a height, as it has a colour whether or not it is recognised
_MASK = 32  # side of the normalised outline


@dataclass(frozen=True)
class Panel:
    """One panel: what is drawn, where (pixels from the panel's centre) and how large (radius in pixels)."""

    shape: str
    colour: str
    dx: float = 0.0
    dy: float = 0.0
    radius: float = 21.0


@dataclass(frozen=True)
class Set:
    """The panels of one picture, in reading order."""

    panels: tuple[Panel, ...]

    @property
    def agrees(self) -> bool:
        """Whether all panels share one colour: the relation to be learned."""
        return len({panel.colour for panel in self.panels}) == 1


@dataclass(frozen=True)
class Reading:
    """What the checker sees in a panel; None if nothing of the world is recognised."""

    shape: str | None
    colour: str | None
    shape_iou: float
    colour_distance: float
    radius: float | None = None  # pixels
    dy: float | None = None  # pixels below the panel's centre


def outline(shape: str) -> list[tuple[float, float]]:
    """The shape's polygon in the unit square [-1, 1]², y down. The moon is drawn apart, see `_draw`."""
    if shape == "square":
        return [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)]
    if shape == "triangle":
        return [(0, -1), (1, 0.85), (-1, 0.85)]
    if shape == "diamond":
        return [(0, -1), (0.8, 0), (0, 1), (-0.8, 0)]
    if shape == "cross":
        a = 0.34
        corners = [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a)]
        return [*corners, (-a, -a)]
    if shape == "star":
        radii = itertools.cycle((1.08, 0.45))
        turns = (math.pi * k / 5 - math.pi / 2 for k in range(10))
        return [(r * math.cos(t), r * math.sin(t) + 0.06) for r, t in zip(radii, turns, strict=False)]
    if shape == "heart":
        turns = (2 * math.pi * k / 72 for k in range(72))
        return [
            (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
            for t in turns
        ]
    if shape in ("circle", "moon"):
        return [(math.cos(2 * math.pi * k / 90), math.sin(2 * math.pi * k / 90)) for k in range(90)]
    raise ValueError(f"The toy world has no shape {shape!r}; it has {', '.join(SHAPES)}.")


def _draw(draw: ImageDraw.ImageDraw, shape: str, cx: float, cy: float, radius: float, ink, paper) -> None:
    draw.polygon([(cx + radius * x, cy + radius * y) for x, y in outline(shape)], fill=ink)
    if shape == "moon":
        draw.polygon(
            [(cx + radius * (0.8 * x + 0.52), cy + radius * 0.8 * y) for x, y in outline("circle")], fill=paper
        )


def draw_panel(panel: Panel) -> np.ndarray:
    """uint8 [PANEL, PANEL, 3]."""
    size = PANEL * _SUPERSAMPLE
    image = Image.new("RGB", (size, size), PAPER)
    centre = PANEL / 2
    _draw(
        ImageDraw.Draw(image),
        panel.shape,
        (centre + panel.dx) * _SUPERSAMPLE,
        (centre + panel.dy) * _SUPERSAMPLE,
        panel.radius * _SUPERSAMPLE,
        PALETTE[panel.colour],
        PAPER,
    )
    return np.asarray(image.resize((PANEL, PANEL), Image.Resampling.BOX))


def draw_set(drawn: Set) -> np.ndarray:
    """uint8 [PANEL, PANEL * panels, 3]: the panels side by side."""
    return np.concatenate([draw_panel(panel) for panel in drawn.panels], axis=1)


# --- captions -------------------------------------------------------------------------------------------------------


def panel_text(panel: Panel, *, name_colour: bool) -> str:
    return f"a {panel.colour} {panel.shape}" if name_colour else f"a {panel.shape}"


def caption(drawn: Set, *, named: Sequence[bool] = (), opening: str = OPENING, prefix: str = "") -> str:
    """The joint caption, e.g. ``three panels of one picture story [SCENE-1] a star [SCENE-2] a moon …``.

    ``named`` says per panel whether its colour is named; by default none is.
    """
    named = tuple(named) or (False,) * len(drawn.panels)
    scenes = (
        f"[SCENE-{i}] {panel_text(panel, name_colour=name)}"
        for i, (panel, name) in enumerate(zip(drawn.panels, named, strict=True), 1)
    )
    return " ".join([*([prefix] if prefix else []), *([opening] if opening else []), *scenes])


# --- sampling -------------------------------------------------------------------------------------------------------


def is_held_out(shapes: Sequence[str]) -> bool:
    """Whether a combination of shapes is kept from every corpus and dataset, for judging: one in four."""
    code = sum(SHAPES.index(shape) * 31**i for i, shape in enumerate(shapes))
    return (code * 2654435761 % 2**32) % 4 == 0


def _jitter(rng: random.Random, shape: str, colour: str) -> Panel:
    return Panel(shape, colour, rng.uniform(-5, 5), rng.uniform(-5, 5), rng.uniform(18.5, 23.5))


def random_shapes(rng: random.Random, *, held_out: bool = False) -> tuple[str, ...]:
    """A random combination of PANELS shapes, from the held-out quarter or from the rest."""
    while True:
        shapes = tuple(rng.choice(SHAPES) for _ in range(PANELS))
        if is_held_out(shapes) == held_out:
            return shapes


def corpus_set(rng: random.Random, relations: Collection[str], *, held_out: bool = False) -> Set:
    """A random set whose panels have the ``relations``, of `RELATIONS`, and differ in all else.

    This is how the base model's corpus is drawn; the first relation's own datasets are drawn by `random_set`.
    """
    shapes = random_shapes(rng, held_out=held_out)
    colours = [rng.choice(list(PALETTE)) for _ in shapes]
    if "colour" in relations:
        colours = colours[:1] * PANELS
    largest = HIGHEST_RADIUS if "rise" in relations else LARGEST
    radii = growing_radii(rng, largest) if "growth" in relations else [rng.uniform(SMALLEST, largest) for _ in shapes]
    reaches = [min(REACH, PANEL / 2 - 1 - radius) for radius in radii]  # a pixel of paper stays around every shape
    heights = rising_heights(rng) if "rise" in relations else [rng.uniform(-reach, reach) for reach in reaches]
    sides = [rng.uniform(-reach, reach) for reach in reaches]
    return Set(tuple(Panel(*parts) for parts in zip(shapes, colours, sides, heights, radii, strict=True)))


def growing_radii(rng: random.Random, largest: float = LARGEST) -> list[float]:
    first = rng.uniform(SMALLEST, max(SMALLEST, largest - GROWTH * (PANELS - 1)))
    return [first + GROWTH * place for place in range(PANELS)]


def rising_heights(rng: random.Random) -> list[float]:
    first = rng.uniform(RISE * (PANELS - 1) - HIGHEST, HIGHEST)
    return [first - RISE * place for place in range(PANELS)]


def random_set(rng: random.Random, *, related: bool) -> Set:
    """A random set that is not held out; with ``related`` all panels share one colour, else each draws its own."""
    shapes = random_shapes(rng)
    shared = rng.choice(list(PALETTE))
    return Set(tuple(_jitter(rng, shape, shared if related else rng.choice(list(PALETTE))) for shape in shapes))


def relation_sets(count: int, seed: int) -> Iterator[Set]:
    """``count`` related sets, no two with the same combination of shapes."""
    rng = random.Random(f"relation-{seed}")
    seen: set[tuple[str, ...]] = set()
    while len(seen) < count:
        drawn = random_set(rng, related=True)
        shapes = tuple(panel.shape for panel in drawn.panels)
        if shapes not in seen:
            seen.add(shapes)
            yield drawn


def held_out_sets(count: int, seed: int) -> Iterator[Set]:
    """``count`` related sets with different held-out combinations of shapes, to judge generated ones by."""
    rng = random.Random(f"held-out-{seed}")
    seen: set[tuple[str, ...]] = set()
    while len(seen) < count:
        shapes = random_shapes(rng, held_out=True)
        if shapes not in seen:
            seen.add(shapes)
            colour = rng.choice(list(PALETTE))
            yield Set(tuple(_jitter(rng, shape, colour) for shape in shapes))


# --- the exact checker ----------------------------------------------------------------------------------------------


def _ink(pixels: np.ndarray) -> np.ndarray:
    return np.linalg.norm(pixels.astype(np.float32) - np.asarray(PAPER, np.float32), axis=-1) > _INK_DISTANCE


def _normalised(mask: np.ndarray) -> np.ndarray:
    """The mask's bounding box scaled to [_MASK, _MASK], so that place and size do not count."""
    left, top, right, bottom = _box(mask)
    box = Image.fromarray(mask[top:bottom, left:right].astype(np.uint8) * 255)
    return np.asarray(box.resize((_MASK, _MASK), Image.Resampling.BILINEAR)) > 127


@lru_cache
def _ideals() -> dict[str, np.ndarray]:
    return {shape: _normalised(_ideal_mask(shape)) for shape in SHAPES}


def read_panel(pixels: np.ndarray) -> Reading:
    """What a panel shows.

    Args:
        pixels: uint8 [PANEL, PANEL, 3].

    Returns:
        The recognised shape (best overlap with the ideal outlines, at least 0.80 intersection over union) and colour
        (palette colour nearest to the median of the ink, within 48 of 255 in RGB distance, and shared by at least 70 % of
        the ink), each None when missed. The size follows from the ink's area, the height from its middle, both by the
        outline that overlaps best, if it does by 0.60.
    """
    mask = _ink(pixels)
    if mask.sum() < 80:
        return Reading(None, None, 0.0, math.inf)
    outline_mask = _normalised(mask)
    overlaps = {
        shape: float((outline_mask & ideal).sum() / (outline_mask | ideal).sum()) for shape, ideal in _ideals().items()
    }
    shape = max(overlaps, key=lambda name: overlaps[name])
    ink = pixels[mask].astype(np.float32)
    palette = {name: np.asarray(rgb, np.float32) for name, rgb in PALETTE.items()}
    distances = {name: float(np.linalg.norm(np.median(ink, axis=0) - rgb)) for name, rgb in palette.items()}
    colour = min(distances, key=lambda name: distances[name])
    alike = float((np.linalg.norm(ink - palette[colour], axis=-1) <= 64).mean())
    radius, dy = _size_and_height(mask, shape) if overlaps[shape] >= _OUTLINE_IOU else (None, None)
    return Reading(
        shape if overlaps[shape] >= _SHAPE_IOU else None,
        colour if distances[colour] <= _COLOUR_TOLERANCE and alike >= _ONE_COLOUR else None,
        overlaps[shape],
        distances[colour],
        radius,
        dy,
    )


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Pixels: left, top, right, bottom of what is inside the mask; right and bottom are outside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _size_and_height(mask: np.ndarray, shape: str) -> tuple[float, float]:
    """Pixels: the radius, from the area, and how far the shape's own middle lies below the panel's, as `Panel` has them."""
    ideal = _ideal_mask(shape)
    radius = _IDEAL_RADIUS * math.sqrt(mask.sum() / ideal.sum())
    middle, own = (np.nonzero(one)[0].mean() + 0.5 - PANEL / 2 for one in (mask, ideal))
    return radius, float(middle - own * radius / _IDEAL_RADIUS)


@lru_cache
def _ideal_mask(shape: str) -> np.ndarray:
    return _ink(draw_panel(Panel(shape, "black", radius=_IDEAL_RADIUS)))


def read_set(pixels: np.ndarray) -> tuple[Reading, ...]:
    """`read_panel` for each panel of a canvas, uint8 [PANEL, PANEL * n, 3]."""
    return tuple(read_panel(pixels[:, left : left + PANEL]) for left in range(0, pixels.shape[1] - PANEL + 1, PANEL))


def agree(readings: Sequence[Reading]) -> bool:
    """Whether all panels show one and the same recognised colour."""
    colours = {reading.colour for reading in readings}
    return len(colours) == 1 and None not in colours
