"""Panels of a finished set: opened for repainting, or enlarged one by one."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import LayoutError
from incontext_lora.incontext.panels import arrange
from incontext_lora.incontext.panels.layout import PanelLayout
from incontext_lora.incontext.panels.paste import keep_given
from incontext_lora.incontext.panels.rework import enlarge_panels, repaint
from incontext_lora.incontext.panels.stitch import split, stitch


@st.composite
def sets(draw: st.DrawFn) -> tuple[torch.Tensor, PanelLayout, int]:
    """A finished set, its layout, and by how much the canvas is larger than the layout."""
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    gutter = draw(st.sampled_from([0, 16]))
    layout = arrange.nested(192, 192, counts, gutter=gutter)
    factor = draw(st.integers(1, 2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    batch = draw(st.integers(1, 2))
    return torch.rand(batch, 192 * factor, 192 * factor, 3, generator=generator), layout, factor


@given(sets(), st.data())
def test_what_is_not_repainted_stays_to_the_bit(
    case: tuple[torch.Tensor, PanelLayout, int], data: st.DataObject
) -> None:
    canvas, layout, factor = case
    chosen = data.draw(st.sets(st.integers(0, len(layout) - 1), min_size=1))
    opened = repaint(canvas, layout, sorted(chosen))
    assert opened.layout.given == tuple(index not in chosen for index in range(len(layout)))
    assert (opened.layout.width, opened.layout.height) == (192 * factor, 192 * factor)
    kept = keep_given(opened.canvas, torch.zeros_like(canvas), opened.mask)
    before, after = split(canvas, layout), split(kept, layout)
    for index in range(len(layout)):
        wanted = torch.zeros_like(before[index]) if index in chosen else before[index]
        assert torch.equal(after[index], wanted)
    untouched = opened.mask == 0
    assert torch.equal(kept[untouched], canvas[untouched])
    assert bool((opened.canvas[~untouched] == 0.5).all())


@given(sets(), st.sampled_from([Fraction(1), Fraction(3, 2), Fraction(2)]))
def test_enlarged_panels_fill_the_enlarged_layout(
    case: tuple[torch.Tensor, PanelLayout, int], factor: Fraction
) -> None:
    canvas, layout, scale = case
    panels, large = enlarge_panels(canvas, layout, factor)
    assert large.width == 192 * scale * factor
    assert large.names == layout.names
    joined = stitch(large, panels)
    assert not bool(joined.mask.any())
    assert all(torch.equal(a, b) for a, b in zip(split(joined.canvas, large), panels, strict=True))
    if factor == 1:
        assert all(torch.equal(a, b) for a, b in zip(panels, split(canvas, layout), strict=True))


def test_a_factor_that_falls_between_pixels_is_refused() -> None:
    with pytest.raises(LayoutError, match="whole pixels"):
        enlarge_panels(torch.zeros(1, 64, 192, 3), arrange.columns(192, 64, 3), Fraction(17, 16) * Fraction(1, 3))
    with pytest.raises(LayoutError, match="different proportions"):
        enlarge_panels(torch.zeros(1, 64, 128, 3), arrange.columns(192, 64, 3), Fraction(2))
