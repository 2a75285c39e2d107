"""The pixels of a set: its canvas, and each panel exactly as it was painted."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path

from PIL import Image

from ..errors import SetError
from ..files.images import open_image
from ..panels.layout import LARGEST_AREA
from .gather import MadeSet, Picture
from .origin import boxes_on

Roots = Mapping[str, Path]


def path_of(roots: Roots, picture: Picture) -> Path:
    return roots[picture.root] / picture.subfolder / picture.name


def panel_picture(roots: Roots, made: MadeSet, panel: int) -> Image.Image:
    """A panel in RGB: from its own file if it was saved, else cut from the canvas.

    Args:
        panel: its index; 0 for a set that is a single picture.

    Raises:
        SetError: if there is no such panel, or its file is missing or damaged.
    """
    return _panel(roots, made, panel, partial(canvas_picture, roots, made))


def panel_pictures(roots: Roots, made: MadeSet) -> Iterator[Image.Image | None]:
    """Every panel in turn, as from `panel_picture`; None for panels that were not saved. The canvas is read only once.

    Raises:
        SetError: if a file is missing or damaged.
    """
    canvas = cache(partial(canvas_picture, roots, made))
    for panel in range(max(1, len(made.panels))):
        is_saved = not made.panels or made.canvas is not None or made.panels[panel] is not None
        yield _panel(roots, made, panel, canvas) if is_saved else None


def not_saved(panel: int) -> SetError:
    return SetError(f"Panel {panel + 1} of this set was not saved. Choose another panel.")


def _panel(roots: Roots, made: MadeSet, panel: int, canvas: Callable[[], Image.Image]) -> Image.Image:
    if not made.panels and panel == 0:
        return canvas()
    if not 0 <= panel < len(made.panels):
        raise SetError(f"The set has no panel {panel + 1}. Reload the gallery.")
    own = made.panels[panel]
    if own is not None:
        return _open(roots, own)
    layout = made.origin.layout
    boxes = boxes_on(layout, made.canvas.width, made.canvas.height) if layout is not None and made.canvas else None
    if boxes is None:
        raise not_saved(panel)
    box = boxes[panel]
    return canvas().crop((box.left, box.top, box.right, box.bottom))


def canvas_picture(roots: Roots, made: MadeSet) -> Image.Image:
    """The canvas in RGB. If only single panels were saved, they are put together with white gutters.

    Raises:
        SetError: if a panel or a file is missing.
    """
    if made.canvas is not None:
        return _open(roots, made.canvas)
    layout = made.origin.layout
    if layout is None:
        raise SetError("The layout of this set is unknown. Use its panels one by one.")
    canvas = Image.new("RGB", (layout.width, layout.height), "white")
    for index, box in enumerate(layout.boxes):
        panel = panel_picture(roots, made, index)
        if panel.size != (box.width, box.height):
            raise SetError(
                f"Panel {index + 1} is {panel.width}×{panel.height}, but the layout has {box.width}×{box.height} there. Use "
                "the panels one by one."
            )
        canvas.paste(panel, (box.left, box.top))
    return canvas


def thumbnail(picture: Image.Image, longest: int) -> bytes:
    """A JPEG whose sides are at most ``longest`` px."""
    small = picture.convert("RGB")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=2)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=87)
    return buffer.getvalue()


def png_bytes(picture: Image.Image) -> bytes:
    """A PNG of the pixels, without metadata."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _open(roots: Roots, picture: Picture) -> Image.Image:
    """The pixels of a file in RGB.

    Raises:
        SetError: if it is missing, damaged, or larger than a canvas can be.
    """
    path = path_of(roots, picture)
    if picture.width * picture.height > LARGEST_AREA:
        raise SetError(
            f"{picture.name} has {picture.width * picture.height:,} pixels; at most {LARGEST_AREA:,} are read."
        )
    try:
        with open_image(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SetError(
            f"{picture.name} cannot be read: {error}. It may have been deleted; reload the gallery."
        ) from error
