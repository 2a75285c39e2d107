"""Panels are found where they are, near where they are expected."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from incontext_lora.demo import world
from incontext_lora.incontext.errors import LayoutError, PanelError
from incontext_lora.incontext.panels import arrange
from incontext_lora.incontext.panels.box import Box
from incontext_lora.incontext.panels.layout import PanelLayout
from incontext_lora.incontext.panels.seams import find_panels
from torch import Tensor
from torch.nn.functional import interpolate


def scene(width: int, height: int, seed: int) -> Tensor:
    """[height, width, 3]: soft shapes and a little grain, as pictures have."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 4, generator=generator)
    soft = interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0].movedim(0, -1)
    return (soft + 0.02 * torch.randn(height, width, 3, generator=generator)).clamp(0, 1)


def picture(layout: PanelLayout, seed: int = 0, gutter: float = 1.0) -> Tensor:
    """Panels that differ in brightness from their neighbours, so that every seam can be seen."""
    canvas = torch.full((layout.height, layout.width, 3), gutter)
    for number, box in enumerate(layout.boxes):
        canvas[box.rows, box.columns] = 0.35 * scene(box.width, box.height, 100 * seed + number) + 0.5 * (number % 2)
    return canvas


@given(
    st.lists(st.integers(50, 90), min_size=2, max_size=4),
    st.integers(0, 9),
    st.integers(0, 50),
    st.booleans(),
)
def test_rows_and_columns_are_found_to_the_pixel(sizes: list[int], gutter: int, seed: int, vertical: bool) -> None:
    boxes, start = [], 0
    for size in sizes:
        boxes.append(Box(start, 0, size, 120) if vertical else Box(0, start, 120, size))
        start += size + gutter
    length = start - gutter
    drawn = PanelLayout(*((length, 120) if vertical else (120, length)), tuple(boxes))
    expected = (arrange.columns if vertical else arrange.rows)(
        *((64 * len(sizes), 64) if vertical else (64, 64 * len(sizes))), len(sizes)
    )
    share = length / len(sizes)
    middles = [sum(sizes[:n]) + gutter * (n - 0.5) for n in range(1, len(sizes))]
    assume(all(abs(middle - n * share) < 0.4 * share for n, middle in enumerate(middles, 1)))  # within the tolerance
    found = find_panels(picture(drawn, seed), expected, tolerance=0.45)
    assert found.layout.boxes == drawn.boxes
    assert found.layout.names == expected.names
    assert found.confidence > 0.3


def test_a_grid_that_moved_a_little() -> None:
    drawn = PanelLayout(
        256, 256, (Box(0, 0, 120, 131), Box(120, 0, 136, 131), Box(0, 131, 137, 125), Box(137, 131, 119, 125))
    )
    found = find_panels(picture(drawn, 3), arrange.grid(1344, 1728, 2, 2))
    assert found.layout.boxes == drawn.boxes
    assert len(found.seams) == 3


def test_a_drawn_storyboard_with_unequal_rows_gutters_and_margin() -> None:
    drawn = PanelLayout(
        320,
        400,
        (Box(12, 10, 296, 80), Box(12, 98, 140, 170), Box(160, 98, 148, 170), Box(12, 276, 296, 114)),
    )
    found = find_panels(picture(drawn, 5), arrange.nested(64, 192, [1, 2, 1]), tolerance=0.45)
    assert found.layout.boxes == drawn.boxes
    assert found.confidence > 0.3


def test_without_any_seam_the_expected_lines_are_used_and_reported() -> None:
    plain = torch.full((64, 192, 3), 0.4)
    found = find_panels(plain, arrange.columns(192, 64, 3))
    assert found.layout.boxes == arrange.columns(192, 64, 3).boxes
    assert found.confidence == 0
    assert "no seam found" in found.describe()


def test_shapes_on_plain_paper_are_rarely_taken_for_seams() -> None:
    """There is no seam to be seen on one sheet of paper, only the straight edges of things on it."""
    expected = arrange.columns(192, 64, 3)
    moved = []
    for drawn in world.relation_sets(40, 1):
        panels = [torch.from_numpy(world.draw_panel(panel).copy()).float() / 255 for panel in drawn.panels]
        found = find_panels(torch.cat(panels, 1), expected)
        moved += [seam for seam in found.seams if seam.confidence]
    assert len(moved) <= 0.1 * 40 * 2
    assert all(seam.start != seam.expected or seam.end != seam.expected for seam in moved)


def test_confidence_falls_with_the_step() -> None:
    left, right = torch.full((64, 64, 3), 0.4), torch.full((64, 64, 3), 0.4)
    noise = 0.02 * torch.randn(64, 128, 3, generator=torch.Generator().manual_seed(1))
    values = []
    for step in (0.3, 0.1, 0.02):
        canvas = (torch.cat([left, right + step], 1) + noise).clamp(0, 1)
        values.append(find_panels(canvas, arrange.columns(128, 64, 2)).confidence)
    assert values[0] > 0.8
    assert values[0] > values[1] > values[2]


def test_edges_are_snapped() -> None:
    drawn = PanelLayout(192, 64, (Box(0, 0, 61, 64), Box(61, 0, 70, 64), Box(131, 0, 61, 64)))
    found = find_panels(picture(drawn, 2), arrange.columns(192, 64, 3), step=16)
    assert [box.left for box in found.layout.boxes] == [0, 64, 128]


def test_a_seam_out_of_tolerance_is_not_taken() -> None:
    drawn = PanelLayout(128, 64, (Box(0, 0, 40, 64), Box(40, 0, 88, 64)))
    near = find_panels(picture(drawn, 4), arrange.columns(128, 64, 2), tolerance=0.1)
    far = find_panels(picture(drawn, 4), arrange.columns(128, 64, 2), tolerance=0.45)
    assert far.layout.boxes == drawn.boxes
    assert 57 <= near.layout.boxes[0].width <= 71
    assert near.confidence < far.confidence


def test_one_panel_is_the_picture() -> None:
    found = find_panels(scene(90, 70, 0), arrange.rows(64, 64, 1))
    assert found.layout.boxes == (Box(0, 0, 90, 70),)
    assert found.confidence == 1


def test_readable_refusals() -> None:
    with pytest.raises(PanelError, match=r"at most 0\.45"):
        find_panels(scene(64, 64, 0), arrange.rows(64, 64, 2), tolerance=0.6)
    with pytest.raises(PanelError, match=r"\[height, width, channels\]"):
        find_panels(torch.zeros(1, 64, 64, 3), arrange.rows(64, 64, 2))
    pinwheel = PanelLayout(
        192,
        192,
        (Box(0, 0, 128, 64), Box(128, 0, 64, 128), Box(64, 128, 128, 64), Box(0, 64, 64, 128), Box(64, 64, 64, 64)),
    )
    with pytest.raises(LayoutError, match="No straight line"):
        find_panels(scene(192, 192, 0), pinwheel)
