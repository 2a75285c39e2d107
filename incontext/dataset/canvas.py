"""The images of a set → its composite on the recipe's canvas, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import PanelError
from ..panels.box import Box
from ..panels.choices import Fit
from ..panels.fit import PanelSettings, place
from ..panels.layout import PanelLayout
from ..panels.stitch import stitch
from ..tensors import as_uint8
from .images import Picture
from .options import BuildOptions, Composite
from .report import Level, Remark

ENLARGED = 2.0  # beyond this factor a panel visibly lacks detail
CUT_AWAY = 0.3  # share of an image


@dataclass(frozen=True, slots=True)
class Canvas:
    """A composite: uint8 [height, width, 3], and what to say about its images."""

    pixels: np.ndarray
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class _Fitting:
    """One image or part of one, by the size of its original, and the box it is fitted into."""

    image: int
    width: int
    height: int
    box: Box
    name: str


def from_panels(layout: PanelLayout, pictures: Sequence[Picture], options: BuildOptions) -> Canvas:
    """Stitch one image per panel.

    Raises:
        PanelError: if a size differs and the fit is `Fit.EXACT`.
    """
    placed = enumerate(zip(pictures, layout.boxes, layout.names, strict=True))
    fittings = [_Fitting(index, picture.width, picture.height, box, name) for index, (picture, box, name) in placed]
    remarks = _fitting_remarks(fittings, options)
    return Canvas(_stitched(layout, [picture.pixels for picture in pictures], options), remarks)


def from_composite(layout: PanelLayout, picture: Picture, options: BuildOptions) -> Canvas:
    """Bring a ready-made composite onto the recipe's canvas, panel by panel or as one picture.

    Raises:
        PanelError: if the size differs and the fit is `Fit.EXACT`, or the composite is too small to be cut.
    """
    if options.composite is Composite.WHOLE:
        whole = Box(0, 0, layout.width, layout.height)
        remarks = _fitting_remarks([_Fitting(0, picture.width, picture.height, whole, "composite")], options)
        single = PanelLayout(layout.width, layout.height, (whole,), ("composite",))
        return Canvas(_stitched(single, [picture.pixels], options), remarks)
    originals = zip(cuts(picture.width, picture.height, layout), layout.boxes, layout.names, strict=True)
    remarks = _fitting_remarks([_Fitting(0, cut.width, cut.height, box, name) for cut, box, name in originals], options)
    height, width, _ = picture.pixels.shape
    parts = [picture.pixels[cut.rows, cut.columns] for cut in cuts(width, height, layout)]
    return Canvas(_stitched(layout, parts, options), remarks)


def cuts(width: int, height: int, layout: PanelLayout) -> tuple[Box, ...]:
    """Where the layout's panels are on a composite of another size: each edge at the nearest pixel.

    Panels that share an edge share it here too, so no row or column between them is dropped or used twice.

    Raises:
        PanelError: if a panel would be empty.
    """

    def scaled(edge: int, length: int, canvas: int) -> int:
        return (2 * edge * length + canvas) // (2 * canvas)  # half up, without the rounding errors of floats

    boxes = []
    for box in layout.boxes:
        left, right = scaled(box.left, width, layout.width), scaled(box.right, width, layout.width)
        top, bottom = scaled(box.top, height, layout.height), scaled(box.bottom, height, layout.height)
        if right <= left or bottom <= top:
            raise PanelError(
                f"The composite is {width}×{height}, too small to be cut into {len(layout)} panels. Use a larger one."
            )
        boxes.append(Box(left, top, right - left, bottom - top))
    return tuple(boxes)


def mask(layout: PanelLayout, references: Sequence[int]) -> np.ndarray:
    """White (255) where the loss counts: panels to be generated; black on references and gutters. uint8 [H, W]."""
    pixels = np.zeros((layout.height, layout.width), np.uint8)
    for index, box in enumerate(layout.boxes):
        if index not in references:
            pixels[box.rows, box.columns] = 255
    return pixels


def _stitched(layout: PanelLayout, parts: Sequence[np.ndarray], options: BuildOptions) -> np.ndarray:
    canvas = stitch(
        layout, [_tensor(part) for part in parts], settings=_settings(options), gutter=options.gutter
    ).canvas
    return as_uint8(canvas[0])


def _tensor(pixels: np.ndarray) -> Tensor:
    """uint8 [h, w, 3] → float [1, h, w, 3] in 0…1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(torch.float32).div_(255)[None]


def _settings(options: BuildOptions) -> PanelSettings:
    return PanelSettings(options.fit, options.align, options.padding)


def _fitting_remarks(fittings: Sequence[_Fitting], options: BuildOptions) -> tuple[Remark, ...]:
    """Which images lose detail or much of their area; for the parts of a composite only the worst of each kind.

    Raises:
        PanelError: if a size differs and the fit is `Fit.EXACT`.
    """
    worst: dict[tuple[str, int], tuple[float, Remark]] = {}

    def note(kind: str, value: float, limit: float, image: int, problem: str, remedy: str) -> None:
        if value > max(limit, worst.get((kind, image), (0.0,))[0]):
            worst[kind, image] = (value, Remark(Level.WARNING, problem, remedy, image))

    for part in fittings:
        size = f"{part.width}×{part.height}"
        placement = place(part.width, part.height, part.box, _settings(options), part.name)
        crop, content = placement.crop, placement.content
        factor = max(content.width / crop.width, content.height / crop.height)
        lost = 1 - crop.width * crop.height / (part.width * part.height)
        enlarged = f"{size} was enlarged {factor:.1f} times to fill {content.width}×{content.height}."
        note("enlarged", factor, ENLARGED, part.image, enlarged, "Use a larger original.")
        cut = f"{lost:.0%} of {size} was cut away to fill {part.box.width}×{part.box.height}."
        remedy = f"Choose the fit '{Fit.CONTAIN.value}', or a recipe whose panels have these proportions."
        note("cut", lost, CUT_AWAY, part.image, cut, remedy)
    return tuple(remark for _, remark in worst.values())
