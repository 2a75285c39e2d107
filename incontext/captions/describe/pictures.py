"""Turn panels into the small pictures that are sent inside the question."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ...dataset import canvas
from ...dataset.images import Picture
from ...dataset.options import BuildOptions
from ...errors import PanelError
from ...panels.choices import Fit
from ...panels.layout import PanelLayout

_QUALITY = 92  # of JPEG; letters and logos stay legible


def panels_of(pictures: Sequence[np.ndarray], layout: PanelLayout) -> list[np.ndarray]:
    """One picture per panel: as given, or cut from a single picture of the whole set, of any size.

    Args:
        pictures: uint8 [height, width, 3] each, in the order of the panels.

    Raises:
        PanelError: if there are neither as many pictures as panels nor a single one.
    """
    if len(pictures) == len(layout):
        return list(pictures)
    if len(pictures) != 1:
        raise PanelError(
            f"There are {len(pictures)} pictures for {len(layout)} panels ({', '.join(layout.names)}). Connect one for "
            "each panel, or a single picture of the whole set."
        )
    height, width, _ = pictures[0].shape
    return [pictures[0][cut.rows, cut.columns] for cut in canvas.cuts(width, height, layout)]


def whole_of(pictures: Sequence[np.ndarray], layout: PanelLayout) -> np.ndarray:
    """One picture of the whole set: as given, or stitched from one per panel, each shown in full.

    Args:
        pictures: uint8 [height, width, 3] each, in the order of the panels.

    Raises:
        PanelError: if there are neither as many pictures as panels nor a single one.
    """
    if len(pictures) == 1:
        return pictures[0]
    panels = [Picture(panel, panel.shape[1], panel.shape[0]) for panel in panels_of(pictures, layout)]
    return canvas.from_panels(layout, panels, BuildOptions(fit=Fit.CONTAIN)).pixels


def data_url(pixels: np.ndarray, side: int) -> str:
    """A picture as a ``data:`` address.

    Args:
        pixels: uint8 [height, width, 3].
        side: the longer side is reduced to this; smaller pictures are sent as they are.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
