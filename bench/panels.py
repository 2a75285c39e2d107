"""Stitching and splitting beside the least that plain torch does for the same result, in turn, in one process.

The least is one preallocated canvas, one slice assignment per panel, the same filter for resizing; for splitting, one
contiguous copy per panel. One thread, so that neither side waits for the other's neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..incontext.panels.arrange import columns, grid
from ..incontext.panels.box import Box
from ..incontext.panels.gather import as_batch
from ..incontext.panels.layout import PanelLayout
from ..incontext.panels.stitch import NEUTRAL, split, stitch
from .figure import Figure

ROUNDS = 15
BOUND = "<= 1.3"
ROW, GRID = columns(2048, 1024, 2), grid(2048, 2048, 2, 2)
GUTTER = grid(2048, 2048, 2, 2, gutter=32)
THREE = columns(1536, 512, 3)
Pair = tuple[Callable[[], object], Callable[[], object]]  # ours, and the least


def panel_figures(say: Callable[[str], None]) -> list[Figure]:
    """Time relative to the least, at the worst of several cases, for stitching, splitting, resizing and masks."""
    groups = {"stitch": stitch_cases, "split": split_cases, "resize": resize_cases, "mask": mask_cases}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_worst(f"panels.{name}_ratio", cases(), say) for name, cases in groups.items()]
    finally:
        torch.set_num_threads(threads)


def stitch_cases() -> dict[str, Pair]:
    cases = {"row of two": ROW, "grid": GRID, "grid with gutters": GUTTER}
    found: dict[str, Pair] = {name: _stitch_case(layout, _pictures(layout.boxes)) for name, layout in cases.items()}
    return {**found, "one of two open": _stitch_case(ROW, _pictures(ROW.boxes[:1]))}


def split_cases() -> dict[str, Pair]:
    def case(layout: PanelLayout, wanted: int) -> Pair:
        canvas = torch.rand(1, layout.height, layout.width, 3)

        def ours() -> object:
            panels = split(canvas, layout)
            return panels, as_batch(panels)

        def least() -> object:
            return [canvas[:, box.rows, box.columns].contiguous() for box in layout.boxes[:wanted]]

        return ours, least

    return {"row of two": case(ROW, 2), "grid": case(GRID, 4), "one panel of two": case(ROW, 1)}


def resize_cases() -> dict[str, Pair]:
    sizes = [(900, 1300), (1500, 1024), (640, 640)]
    pictures = [torch.rand(1, height, width, 3) for width, height in sizes]
    squares = [_centre_square(width, height) for width, height in sizes]

    def least() -> Tensor:
        canvas = torch.empty(1, THREE.height, THREE.width, 3)
        for box, picture, square in zip(THREE.boxes, pictures, squares, strict=True):
            part = picture[:, square.rows, square.columns].movedim(-1, 1)
            resized = interpolate(part, (box.height, box.width), mode="bicubic", antialias=True).clamp_(0, 1)
            canvas[:, box.rows, box.columns] = resized.movedim(1, -1)
        return canvas

    assert torch.equal(stitch(THREE, pictures).canvas, least())
    return {"three sizes, cover": (lambda: stitch(THREE, pictures), least)}


def mask_cases() -> dict[str, Pair]:
    rows, columns_ = torch.meshgrid(torch.arange(1024.0), torch.arange(1024.0), indexing="ij")
    rectangle = torch.zeros(1, 1024, 1024)
    rectangle[:, 300:700, 200:800] = 1
    ellipse = (((rows - 512) / 300) ** 2 + ((columns_ - 512) / 400) ** 2 < 1).float()[None]
    pictures = _pictures(ROW.boxes)

    def case(masks: Sequence[Tensor]) -> Pair:
        def least() -> tuple[Tensor, Tensor]:
            canvas, mask = torch.empty(1, ROW.height, ROW.width, 3), torch.zeros(1, ROW.height, ROW.width)
            for box, picture in zip(ROW.boxes, pictures, strict=True):
                canvas[:, box.rows, box.columns] = picture
            for box, one in zip(ROW.boxes, masks, strict=False):
                mask[:, box.rows, box.columns] = one
                filled = one >= 1
                for channel, value in enumerate(NEUTRAL):
                    canvas[:, box.rows, box.columns, channel].masked_fill_(filled, value)
            return canvas, mask

        stitched = stitch(ROW, pictures, masks=masks)
        assert all(
            torch.equal(one, other) for one, other in zip(least(), (stitched.canvas, stitched.mask), strict=True)
        )
        return lambda: stitch(ROW, pictures, masks=masks), least

    return {"rectangle": case([rectangle]), "ellipse": case([ellipse]), "two masks": case([rectangle, ellipse])}


def _stitch_case(layout: PanelLayout, pictures: Sequence[Tensor]) -> Pair:
    def least() -> object:
        canvas = torch.empty(1, layout.height, layout.width, 3)
        for gap in layout.gaps:
            canvas[:, gap.rows, gap.columns] = 1.0
        for box, picture in zip(layout.boxes, pictures, strict=False):
            canvas[:, box.rows, box.columns] = picture
        if len(pictures) == len(layout):
            return canvas
        mask = torch.zeros(1, layout.height, layout.width)
        for box in layout.boxes[len(pictures) :]:
            canvas[:, box.rows, box.columns] = NEUTRAL[0]
            mask[:, box.rows, box.columns] = 1.0
        return canvas, mask

    return lambda: stitch(layout, pictures), least


def _worst(name: str, cases: dict[str, Pair], say: Callable[[str], None]) -> Figure:
    ratios: dict[str, float] = {}
    for case, (ours, least) in cases.items():
        say(f"{name}, {case}")
        ratios[case] = _ratio(ours, least)
    listed = ", ".join(f"{case} {ratio:.2f}" for case, ratio in ratios.items())
    values = [round(ratio, 5) for ratio in ratios.values()]
    return Figure(name, max(values), min(values), max(values), "ratio", BOUND, f"{ROUNDS} rounds in turn: {listed}")


def _ratio(ours: Callable[[], object], least: Callable[[], object]) -> float:
    ours(), least()
    ratios = []
    for _ in range(ROUNDS):
        first, second, third, fourth = (_seconds(run) for run in (ours, least, least, ours))
        ratios.append((first + fourth) / (second + third))
    return median(ratios)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - began
    del result  # memory is freed outside of the time of whichever comes next
    return seconds


def _pictures(boxes: Sequence[Box]) -> list[Tensor]:
    return [torch.rand(1, box.height, box.width, 3) for box in boxes]


def _centre_square(width: int, height: int) -> Box:
    side = min(width, height)
    return Box(round((width - side) / 2), round((height - side) / 2), side, side)
