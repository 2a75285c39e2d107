"""Collect the panels' images from the inputs of a node: one batch, a list, or one input per panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..errors import PanelError
from ..tensors import checked_pictures


def as_batch(panels: Sequence[Tensor]) -> Tensor:
    """Panels [sets, h, w, channels] of one size as one batch [sets × panels, h, w, channels], set by set.

    It is a view if the panels are evenly spaced in one storage, as in a row or column of one canvas; otherwise a copy.
    """
    first, count = panels[0], len(panels)
    distances = {after.storage_offset() - before.storage_offset() for before, after in pairwise(panels)}
    in_one_memory = len({(panel.untyped_storage().data_ptr(), panel.stride()) for panel in panels}) == 1
    if in_one_memory and len(distances) <= 1:
        distance = distances.pop() if distances else first.stride(0)
        if distance > 0 and (len(first) == 1 or first.stride(0) == count * distance):
            return first.as_strided((len(first) * count, *first.shape[1:]), (distance, *first.stride()[1:]))
    batch = first.new_empty((len(first), count, *first.shape[1:]))
    for number, panel in enumerate(panels):
        batch[:, number] = panel
    return batch.flatten(0, 1)


def as_given(pictures: Tensor, what: str) -> Tensor:
    """`checked_pictures`, with channels and values unchanged."""
    return checked_pictures(pictures, what, coloured=False, finite=False)


def gather(
    count: int,
    together: Sequence[Tensor],
    numbered: Mapping[int, Sequence[Tensor] | None],
    checked: Callable[[Tensor, str], Tensor] = as_given,
    what: str = "images",
) -> list[Tensor | None]:
    """One tensor or None for each of ``count`` panels.

    Args:
        together: all panels: one batch of them, or a list with one image (or batch of images) per panel.
        numbered: panel number from 1 → its images; these replace that panel's entry in ``together``.
        checked: makes a batch of a tensor, or raises: `as_given` or `checked_masks`.
        what: the word for them in messages.

    Raises:
        PanelError: if the layout has fewer panels, or images of one panel cannot be used or differ in size.
    """
    listed = list(together)
    if len(together) == 1:
        listed = list(checked(together[0], what).split(1))
    if len(listed) > count:
        raise PanelError(
            f"{len(listed)} {what} for a layout of {count} panels. Remove {what} or choose a larger layout."
        )
    panels: list[Tensor | None] = [*listed, *[None] * (count - len(listed))]
    for number, images in numbered.items():
        if not images:
            continue
        if number > count:
            raise PanelError(
                f"Something is connected for panel {number}, but the layout has {count} panels. "
                "Disconnect it, or choose a larger layout."
            )
        if len(images) == 1:
            panels[number - 1] = images[0]
            continue
        batches = [checked(image, f"the input for panel {number}") for image in images]
        sizes = sorted({tuple(batch.shape[1:]) for batch in batches})
        if len(sizes) > 1:
            listed_sizes = ", ".join(f"{size[1]}×{size[0]}{_channels(size[2:])}" for size in sizes)
            raise PanelError(
                f"Panel {number} gets a list of images of different sizes ({listed_sizes}). Connect one image per panel, or "
                "use 'images' to give all panels as a list."
            )
        panels[number - 1] = torch.cat(batches)
    return panels


def _channels(count: tuple[int, ...]) -> str:
    return f" with {count[0]} channels" if count not in ((), (3,)) else ""
