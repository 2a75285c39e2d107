"""Before and after, for the slider that the interface draws on nodes which change a picture."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from .core_nodes import core_node

log = logging.getLogger("incontext_lora")

LONGEST_SIDE = 1024  # pixels; a node on the canvas shows fewer


def before_and_after(before: Tensor, after: Tensor) -> dict[str, Any] | None:
    """What a node shows beside its outputs: two files in ComfyUI's temp folder, which ComfyUI empties when it starts.

    If a picture cannot be written, as on a full disk, nothing is shown, and the result is not lost.

    Args:
        before, after: [batch, height, width, 3 or more], of one size; of a batch the first is shown.
    """
    try:
        return {"incontext_before": _written(before, "before"), "incontext_after": _written(after, "after")}
    except OSError as error:
        log.warning(
            "Before and after cannot be shown: %s. Check the permissions and free space of ComfyUI's temp folder.",
            error,
        )
        return None


def _written(pictures: Tensor, name: str) -> list[dict[str, str]]:
    """The file as ComfyUI's own Preview Image writes it."""
    from ...incontext.panels.fit import resize

    first = pictures[:1, ..., :3].float()
    factor = min(1.0, LONGEST_SIDE / max(first.shape[1:3]))
    width, height = (max(1, round(side * factor)) for side in (first.shape[2], first.shape[1]))
    saved = core_node("PreviewImage")().save_images(resize(first, width, height), f"incontext_{name}")
    return saved["ui"]["images"]
