"""The cards of ComfyUI's list of templates: what goes in, and what the technique makes of it.

A card is square, as the list crops it, and keeps its lowest part free, where the list puts its tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from PIL import Image, ImageDraw

from . import drawings as d

SIDE, GAP, MARGIN = 512, 8, 26
FREE = 108
"""Pixels at the bottom, under the list's tags."""
BACK = (226, 222, 234)

Panel = Callable[[d.Size], Image.Image]
Rows = Sequence[Sequence[Panel]]


def text_card(rows: Rows, ratio: float) -> Image.Image:
    """A caption above, and the panels that are made from it. ``ratio`` is a panel's width by its height."""
    card, draw = _blank()
    _caption(draw, SIDE / 2, 44)
    _arrow(draw, SIDE / 2, 76, down=True)
    _grid(card, rows, ratio, (MARGIN, 96, SIDE - MARGIN, SIDE - FREE))
    return card


def given_card(
    rows: Rows, ratio: float, given: Sequence[tuple[int, int]], arrow: tuple[float, float] | None = None
) -> Image.Image:
    """Panels of which some are given (framed); an arrow points from those to the painted ones.

    Args:
        arrow: where, in columns and rows from the upper left panel; between the first two by default.
    """
    card, draw = _blank()
    boxes = _grid(card, rows, ratio, (MARGIN, MARGIN + 8, SIDE - MARGIN, SIDE - FREE))
    for row, column in given:
        left, top, right, bottom = boxes[row][column]
        draw.rectangle((left - 4, top - 4, right + 3, bottom + 3), outline=d.ACCENT, width=6)
    left, top, right, bottom = boxes[0][0]
    x, y = arrow or (1, 0.5)
    _arrow(draw, left + x * (right - left + GAP) - GAP / 2, top + y * (bottom - top + GAP), down=y == int(y))
    return card


def flow_card(inputs: Sequence[Panel], result: Panel) -> Image.Image:
    """Input pictures below each other on the left, and what becomes of them on the right."""
    card, draw = _blank()
    count, high = len(inputs), SIDE - FREE - MARGIN
    side = min((high - GAP * (count - 1)) // count, 176)
    top = MARGIN + (high - count * side - GAP * (count - 1)) // 2
    for number, panel in enumerate(inputs):
        y = top + number * (side + GAP)
        card.paste(panel((side, side)), (MARGIN, y))
        draw.rectangle((MARGIN - 4, y - 4, MARGIN + side + 3, y + side + 3), outline=d.ACCENT, width=6)
    left = MARGIN + side + 44
    width = SIDE - MARGIN - left
    height = min(high, round(width * 1.25))
    card.paste(result((width, height)), (left, MARGIN + (high - height) // 2))
    _arrow(draw, MARGIN + side + 22, MARGIN + high / 2)
    return card


def picture_card(pictures: Sequence[Image.Image]) -> Image.Image:
    """Real pictures below each other, as large as the card allows."""
    card, _ = _blank()
    high = (SIDE - FREE - MARGIN - GAP * (len(pictures) - 1)) // len(pictures)
    for row, picture in enumerate(pictures):
        scale = min((SIDE - 2 * MARGIN) / picture.width, high / picture.height)
        size = round(picture.width * scale), round(picture.height * scale)
        resized = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        card.paste(resized, ((SIDE - size[0]) // 2, MARGIN + row * (high + GAP) + (high - size[1]) // 2))
    return card


def caption_card() -> Image.Image:
    """Pictures, and the caption that is written of them."""
    card, draw = _blank()
    people = [partial(d.portrait, person=d.ANNA, ground=(178, 206, 200), near=near) for near in (0.9, 1.1, 1.3)]
    boxes = _grid(card, [people], 0.9, (MARGIN, MARGIN + 8, SIDE - MARGIN, 210))
    for left, top, right, bottom in boxes[0]:
        draw.rectangle((left - 4, top - 4, right + 3, bottom + 3), outline=d.ACCENT, width=6)
    _arrow(draw, SIDE / 2, 236, down=True)
    for number, width in enumerate((400, 340, 370)):
        _caption(draw, SIDE / 2, 280 + number * 46, width)
    return card


def training_card() -> Image.Image:
    """Sets, a falling loss, and the LoRA."""
    card, draw = _blank()
    for number, colour in enumerate(((214, 84, 72), (62, 116, 170), (34, 138, 112), (236, 166, 48))):
        person = d.Person(shirt=colour, long_hair=number % 2 == 0, hair=((74, 46, 40), (38, 36, 44))[number // 2])
        for column in range(3):
            tile = d.portrait((62, 62), person, d.shade(colour, 1.25), near=0.9 + column * 0.2)
            card.paste(tile, (MARGIN + column * 64, 50 + number * 72))
    _arrow(draw, 250, 190)
    draw.rounded_rectangle((284, 50, SIDE - MARGIN, 330), 12, fill=(255, 255, 255))
    points = [(300 + x * 18, 90 + 200 * (1 - 0.82**x) + (7, -6, 4, -3)[x % 4]) for x in range(11)]
    draw.line(points, fill=d.ACCENT, width=6, joint="curve")
    draw.line((300, 312, 474, 312), fill=d.INK, width=3)
    draw.line((300, 66, 300, 312), fill=d.INK, width=3)
    return card


def comparing_card() -> Image.Image:
    """Sets of three checkpoints; the one whose panels belong together is chosen."""
    card, draw = _blank()
    colours = (((242, 172, 20), (40, 80, 200)), ((40, 80, 200), (160, 50, 170)), ((46, 150, 70), (46, 150, 70)))
    high = (SIDE - FREE - MARGIN - 2 * 2 * GAP) // 3
    wide = (SIDE - 2 * MARGIN - GAP) // 2
    for row, pair in enumerate(colours):
        top = MARGIN + row * (high + 2 * GAP)
        for column, colour in enumerate(pair):
            left = MARGIN + column * (wide + GAP)
            card.paste(d.logo((wide, high), (255, 255, 255), colour), (left, top))
    top = MARGIN + 2 * (high + 2 * GAP)
    draw.rectangle((MARGIN - 6, top - 6, SIDE - MARGIN + 5, top + high + 5), outline=d.ACCENT, width=6)
    return card


def drawn_cards() -> Mapping[str, Image.Image]:
    """The cards that need no model, by the template's name."""
    anna, leo, night = d.ANNA, d.LEO, (70, 84, 122)
    face = partial(d.portrait, person=anna, ground=(178, 206, 200))
    man = partial(d.portrait, person=leo, ground=(222, 204, 178))
    shots = [
        partial(d.portrait, person=anna, ground=(178, 206, 200), near=0.75),
        partial(d.portrait, person=anna, ground=(236, 178, 120), near=1.2, turn=1),
        partial(d.portrait, person=anna, ground=night, near=0.95, turn=-1),
    ]
    sketch = partial(d.portrait, person=d.older(anna), ground=(252, 226, 190))
    story = [[shot] for shot in shots]
    rooms = [[partial(d.room, what=what) for what in pair] for pair in (("sofa", "bed"), ("table", "lamp"))]
    slides = [[partial(d.slide, what=what) for what in pair] for pair in (("title", "bars"), ("text", "ring"))]
    type_ = [
        [
            partial(d.letters, text="Aa", ground=(250, 246, 236), colour=d.INK),
            partial(d.letters, text="LUNA", ground=d.INK, colour=(250, 220, 140)),
        ],
        [
            partial(d.letters, text="No. 7", ground=(206, 96, 82), colour=(255, 250, 240)),
            partial(d.letters, text="Bg", ground=(92, 138, 128), colour=(250, 246, 236)),
        ],
    ]
    portraits = [
        [partial(d.portrait, person=leo, ground=(222, 204, 178), near=near, turn=turn) for near, turn in pair]
        for pair in (((0.8, 0), (1.25, 1)), ((1.05, -1), (1.5, 0)))
    ]
    grey, colour = (168, 168, 172), (206, 96, 82)
    cloze = [
        [
            partial(d.still, thing="vase", colour=grey, ground=(214, 214, 214)),
            partial(d.still, thing="vase", colour=colour),
        ],
        [
            partial(d.still, thing="ball", colour=grey, ground=(214, 214, 214)),
            partial(d.still, thing="ball", colour=(62, 116, 170)),
        ],
    ]
    autumn = partial(d.scene, sky=(238, 206, 160), land=(196, 124, 62))
    evening = partial(d.portrait, person=anna, ground=night, turn=1)
    return {
        "storyboard-flux": text_card([[shot] for shot in shots], 2.9),
        "couple-profile-flux": text_card([[face, man]], 0.85),
        "portrait-photography-flux": text_card(portraits, 1.35),
        "portrait-illustration-flux": text_card([[face, sketch]], 0.85),
        "font-design-flux": text_card(type_, 1.45),
        "visual-identity-design-flux": text_card([[d.logo, d.mug]], 0.85),
        "home-decoration-flux": text_card(rooms, 1.45),
        "ppt-templates-flux": text_card(slides, 1.5),
        "sandstorm-visual-effect-flux": text_card([[d.scene], [partial(d.scene, storm=True)]], 2.6),
        "sparklers-visual-effect-flux": text_card([[evening], [partial(evening, effect="sparks")]], 2.6),
        "character-storyboard": given_card(story, 2.9, [(0, 0)], (0.5, 1)),
        "logo-on-products": given_card([[d.logo, d.mug]], 0.7, [(0, 0)]),
        "photo-to-illustration": given_card([[face, sketch]], 0.7, [(0, 0)]),
        "virtual-try-on": flow_card(
            [d.garment, partial(d.wearer, ground=(206, 220, 232), person=leo, stripes=False)],
            partial(
                d.wearer, ground=(206, 220, 232), person=d.Person(leo.skin, leo.hair, (236, 166, 48)), stripes=True
            ),
        ),
        "object-replacement": flow_card(
            [
                partial(d.still, thing="ball", colour=(62, 116, 170), ground=(250, 250, 250)),
                partial(d.still, thing="vase", colour=colour, masked=True),
            ],
            partial(d.still, thing="ball", colour=(62, 116, 170)),
        ),
        "ace-plus-portrait": given_card(
            [
                [
                    face,
                    partial(
                        d.portrait,
                        person=d.Person(shirt=(40, 60, 110), long_hair=True),
                        ground=(236, 178, 120),
                        near=0.8,
                    ),
                ]
            ],
            0.7,
            [(0, 0)],
        ),
        "ic-edit-instruction": given_card([[d.scene, autumn]], 0.7, [(0, 0)]),
        "visual-cloze-grid": given_card(cloze, 1.2, [(0, 0), (0, 1), (1, 0)], (1, 1.5)),
        "kontext-panels": given_card([[face, evening]], 0.7, [(0, 0)]),
        "qwen-edit-panels": given_card(
            [
                [
                    partial(d.still, thing="vase", colour=colour),
                    partial(d.still, thing="vase", colour=colour, ground=night),
                ]
            ],
            0.7,
            [(0, 0)],
        ),
        "repaint-panel": _repaint(shots, man),
        "finish-panels": _finish([shots[1], evening]),
        "compare-and-choose": comparing_card(),
        "caption-panels": caption_card(),
        "train-sd-scripts-flux": training_card(),
    }


def _repaint(shots: Sequence[Panel], odd: Panel) -> Image.Image:
    """A set with one panel that does not belong, and the same set with that panel painted again."""
    return given_card([[shots[0], odd, shots[2]], list(shots)], 0.72, [(1, 0), (1, 2)], (1.5, 1))


def _finish(panels: Sequence[Panel]) -> Image.Image:
    """Coarse panels, and the same ones fine."""

    def coarse(panel: Panel, size: d.Size) -> Image.Image:
        return panel((size[0] // 9, size[1] // 9)).resize(size, Image.Resampling.NEAREST)

    rows = [[partial(coarse, panel) for panel in panels], list(panels)]
    return given_card(rows, 1.2, [(0, 0), (0, 1)], (1, 1))


def _blank() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    card = Image.new("RGB", (SIDE, SIDE), BACK)
    return card, ImageDraw.Draw(card)


def _grid(
    card: Image.Image, rows: Rows, ratio: float, area: tuple[int, int, int, int]
) -> list[list[tuple[int, int, int, int]]]:
    """Paste panels of one shape, centred in an area; returns where each is."""
    left, top, right, bottom = area
    across, down = max(map(len, rows)), len(rows)
    width = min((right - left - GAP * (across - 1)) / across, (bottom - top - GAP * (down - 1)) / down * ratio)
    size = round(width), round(width / ratio)
    x = (left + right - across * size[0] - GAP * (across - 1)) // 2
    y = (top + bottom - down * size[1] - GAP * (down - 1)) // 2
    boxes = []
    for row, panels in enumerate(rows):
        boxes.append([])
        for column, panel in enumerate(panels):
            at = (x + column * (size[0] + GAP), y + row * (size[1] + GAP))
            card.paste(panel(size), at)
            boxes[-1].append((*at, at[0] + size[0], at[1] + size[1]))
    return boxes


def _caption(draw: ImageDraw.ImageDraw, x: float, y: float, width: float = 400) -> None:
    """A line of text, not to be read."""
    draw.rounded_rectangle((x - width / 2, y - 18, x + width / 2, y + 18), 18, fill=(255, 255, 255))
    left = x - width / 2 + 20
    draw.rounded_rectangle((left, y - 5, left + 66, y + 5), 5, fill=d.ACCENT)
    draw.rounded_rectangle((left + 78, y - 5, x + width / 2 - 24, y + 5), 5, fill=(190, 188, 200))


def _arrow(draw: ImageDraw.ImageDraw, x: float, y: float, *, down: bool = False) -> None:
    radius = 17
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255), outline=d.INK, width=2)
    points = ((-7, -3), (1, -3), (1, -9), (10, 0), (1, 9), (1, 3), (-7, 3))
    draw.polygon([(x + b, y + a) if down else (x + a, y + b) for a, b in points], fill=d.INK)
