"""Stitching and splitting copy as little as they can, and give the same bits as when they copied everything."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from incontext_lora.incontext.panels import arrange
from incontext_lora.incontext.panels.box import Box
from incontext_lora.incontext.panels.choices import Align, Alpha, Fit
from incontext_lora.incontext.panels.fit import PanelSettings, resize, resize_mask
from incontext_lora.incontext.panels.gather import as_batch
from incontext_lora.incontext.panels.layout import PanelLayout
from incontext_lora.incontext.panels.stitch import split, stitch
from incontext_lora.tests import panel_reference
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

COLOURS = [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (0.1, 0.2, 0.3), (1.0, 0.0, 0.0)]
ROW = arrange.columns(256, 64, 2)
GRID = arrange.grid(128, 128, 2, 2)


def some_layout(rng: random.Random) -> PanelLayout:
    if rng.random() < 0.5:
        counts = [rng.randint(1, 3) for _ in range(rng.randint(1, 3))]
        return arrange.nested(192, 192, counts, gutter=rng.choice([0, 0, 16, 32]))
    boxes: list[Box] = []
    for _ in range(12):
        left, top = rng.randrange(176), rng.randrange(112)
        box = Box(left, top, rng.randint(1, 192 - left), rng.randint(1, 128 - top))
        if not any(box.overlaps(other) for other in boxes):
            boxes.append(box)
    return arrange.custom(192, 128, boxes)


def some_image(rng: random.Random, box: Box, batch: int) -> Tensor:
    size = (box.height, box.width) if rng.random() < 0.4 else (rng.randint(1, 150), rng.randint(1, 150))
    return torch.rand(rng.choice([1, batch]), *size, rng.choice([1, 3, 3, 3, 4]))


def some_mask(rng: random.Random, image: Tensor) -> Tensor | None:
    batch, height, width, _ = image.shape
    mask = torch.zeros(rng.choice([1, batch]), height, width)
    match rng.choice(["none", "small", "empty", "box", "full", "ragged", "soft", "negative"]):
        case "none":
            return None
        case "small":
            return torch.zeros(1, 64, 64)
        case "box":
            top, left = rng.randrange(height), rng.randrange(width)
            mask[:, top : rng.randint(top, height) + 1, left : rng.randint(left, width) + 1] = 1
        case "full":
            mask[:] = 1
        case "ragged":
            mask[torch.rand(mask.shape) > 0.7] = 1
        case "soft":
            mask = torch.rand(mask.shape) * 1.1
        case "negative":
            mask -= 0.5
    return mask


def check_same_bits(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("seed", range(120))
def test_stitch_and_split_give_the_same_bits_as_before(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    layout, batch = some_layout(rng), rng.choice([1, 1, 3])
    images = [some_image(rng, box, batch) if rng.random() < 0.8 else None for box in layout.boxes]
    masks = [None if image is None else some_mask(rng, image) for image in images]
    fits = [fit for fit in Fit if fit is not Fit.EXACT]
    settings = [
        PanelSettings(rng.choice(fits), rng.choice(list(Align)), rng.choice(COLOURS), rng.choice(list(Alpha)))
        for _ in images
    ]
    fill, gutter = rng.choice(COLOURS), rng.choice(COLOURS)
    canvas, mask = panel_reference.stitch(layout, images, masks, settings, fill, gutter)
    stitched = stitch(layout, images, masks=masks, settings=settings, fill=fill, gutter=gutter)
    check_same_bits(stitched.canvas, canvas)
    check_same_bits(stitched.mask, mask)
    for panel, expected in zip(
        split(stitched.canvas, layout), panel_reference.split(canvas, layout.boxes), strict=True
    ):
        check_same_bits(panel, expected)


def test_values_that_are_not_numbers_are_passed_on() -> None:
    image = torch.rand(1, 64, 128, 3)
    image[0, 5, 7] = torch.nan
    image[0, 9, 3] = torch.inf
    (left, _) = split(stitch(ROW, [image]).canvas, ROW)
    check_same_bits(left, image)


@pytest.mark.parametrize("seed", range(30))
def test_resizing_gives_the_same_bits_as_before(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    canvas = torch.rand(rng.choice([1, 2]), 160, 160, rng.choice([1, 3, 4]))
    part = canvas[:, rng.randrange(80) :, : rng.randint(1, 160)]
    width, height = rng.randint(1, 200), rng.randint(1, 200)
    assert torch.equal(resize(part, width, height), panel_reference.resize(part, width, height))
    mask = part[..., 0]
    assert torch.equal(resize_mask(mask, width, height), panel_reference.resize_mask(mask, width, height))


@pytest.mark.parametrize("seed", range(30))
def test_gaps_cover_the_gutter_once(seed: int) -> None:
    layout = some_layout(random.Random(seed))
    covered = torch.zeros(layout.height, layout.width, dtype=torch.int32)
    for box in (*layout.boxes, *layout.gaps):
        covered[box.rows, box.columns] += 1
    assert bool((covered == 1).all())


@pytest.mark.parametrize("sets", [1, 3])
@pytest.mark.parametrize(
    "layout",
    [
        ROW,
        GRID,
        arrange.rows(64, 256, 2),
        arrange.columns(192, 64, 2, gutter=64),
        arrange.rows(64, 64, 1),
        arrange.custom(128, 64, [Box(64, 0, 64, 64), Box(0, 0, 64, 64)]),
        arrange.custom(256, 64, [Box(0, 0, 64, 64), Box(64, 0, 64, 64), Box(192, 0, 64, 64)]),
    ],
    ids=["row", "grid", "column", "gutter", "one", "right to left", "uneven"],
)
def test_a_batch_of_panels_is_set_by_set(layout: PanelLayout, sets: int) -> None:
    canvas = torch.rand(sets, layout.height, layout.width, 3)
    panels = split(canvas, layout)
    assert torch.equal(as_batch(panels), panel_reference.as_batch(panels))
    assert torch.equal(as_batch([panel.clone() for panel in panels]), panel_reference.as_batch(panels))


# --- what is copied -------------------------------------------------------------------------------------------------


def in_memory_of(tensor: Tensor, whole: Tensor) -> bool:
    return tensor.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


def test_split_copies_nothing() -> None:
    stitched = stitch(ROW, [torch.rand(1, 64, 128, 3)])
    for original_size in (False, True):
        panels = split(stitched.canvas, stitched.layout, original_size=original_size)
        assert all(in_memory_of(panel, stitched.canvas) for panel in panels)


@pytest.mark.parametrize("layout", [ROW, arrange.rows(64, 256, 3, step=16, gutter=32)], ids=["row", "column"])
def test_a_batch_of_a_row_or_column_copies_nothing(layout: PanelLayout) -> None:
    canvas = torch.rand(1, layout.height, layout.width, 3)
    assert in_memory_of(as_batch(split(canvas, layout)), canvas)


class Written(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make or write, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not func.is_view and "empty" not in func.name():
            self.bytes += result.numel() * result.element_size()
        return result


def written_by_stitch(layout: PanelLayout, images: Sequence[Tensor | None]) -> int:
    with Written() as written:
        stitch(layout, images)
    return written.bytes


@pytest.mark.parametrize("layout", [ROW, GRID, arrange.grid(192, 192, 2, 2, gutter=64)], ids=["row", "grid", "gutter"])
def test_stitch_writes_each_pixel_once(layout: PanelLayout) -> None:
    images = [torch.rand(1, box.height, box.width, 3) for box in layout.boxes]
    canvas_bytes = layout.width * layout.height * 3 * 4
    assert canvas_bytes <= written_by_stitch(layout, images) <= canvas_bytes + 64
    mask_bytes = layout.width * layout.height * 4
    open_bytes = layout.boxes[-1].width * layout.boxes[-1].height * 4
    assert written_by_stitch(layout, [*images[:-1], None]) <= canvas_bytes + mask_bytes + open_bytes + 64
