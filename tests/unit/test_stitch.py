"""Panels into one canvas and back: exact, with every pixel accounted for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import LayoutError, PanelError
from incontext_lora.incontext.panels import arrange
from incontext_lora.incontext.panels.box import Box
from incontext_lora.incontext.panels.choices import Align, Alpha, Fit
from incontext_lora.incontext.panels.fit import PanelSettings, place, resize, resize_mask
from incontext_lora.incontext.panels.layout import PanelLayout
from incontext_lora.incontext.panels.stitch import NEUTRAL, generated, split, stitch
from incontext_lora.tests.panel_pictures import EXACT, TWO, flat, picture
from torch import Tensor


@st.composite
def sets(draw: st.DrawFn) -> tuple[PanelLayout, list[Tensor | None]]:
    """A layout and an image of the exact size for some of its panels."""
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    gutter = draw(st.sampled_from([0, 16]))
    layout = arrange.nested(128, 192, counts, gutter=gutter)
    batch = draw(st.integers(1, 3))
    present = draw(st.lists(st.booleans(), min_size=len(layout), max_size=len(layout)))
    images = [
        picture(box.width, box.height, batch=batch, seed=seed) if there else None
        for seed, (box, there) in enumerate(zip(layout.boxes, present, strict=True))
    ]
    return layout, images


@given(sets())
def test_split_is_the_exact_inverse_of_stitch(drawn: tuple[PanelLayout, list[Tensor | None]]) -> None:
    layout, images = drawn
    stitched = stitch(layout, images, settings=EXACT)
    panels = split(stitched.canvas, stitched.layout)
    batch = stitched.canvas.shape[0]
    for panel, image, box in zip(panels, images, layout.boxes, strict=True):
        neutral = torch.full((batch, box.height, box.width, 3), 0.5)
        assert torch.equal(panel, neutral if image is None else image)
    left_open = [panel for panel, image in zip(panels, images, strict=True) if image is None]
    for one, other in zip(generated(panels, stitched.layout), left_open, strict=True):
        assert one is other


@given(sets())
def test_the_mask_is_white_on_missing_panels_and_nowhere_else(drawn: tuple[PanelLayout, list[Tensor | None]]) -> None:
    layout, images = drawn
    mask = stitch(layout, images).mask
    expected = torch.zeros_like(mask)
    if not any(image is not None for image in images):
        expected += 1  # nothing is given: the gutters are generated too
    for box, image in zip(layout.boxes, images, strict=True):
        if image is None:
            expected[:, box.rows, box.columns] = 1
    assert torch.equal(mask, expected)


@given(sets())
def test_images_are_never_changed(drawn: tuple[PanelLayout, list[Tensor | None]]) -> None:
    layout, images = drawn
    before = [None if image is None else image.clone() for image in images]
    stitched = stitch(layout, images)
    stitched.canvas.zero_()
    for image, old in zip(images, before, strict=True):
        assert image is None or (old is not None and torch.equal(image, old))


@given(sets())
def test_a_canvas_of_twice_the_size_is_split_into_panels_of_twice_the_size(
    drawn: tuple[PanelLayout, list[Tensor | None]],
) -> None:
    layout, images = drawn
    stitched = stitch(layout, images)
    doubled = stitched.canvas.repeat_interleave(2, 1).repeat_interleave(2, 2)
    for large, small in zip(split(doubled, stitched.layout), split(stitched.canvas, stitched.layout), strict=True):
        assert torch.equal(large, small.repeat_interleave(2, 1).repeat_interleave(2, 2))


@given(
    st.sampled_from([fit for fit in Fit if fit is not Fit.EXACT]),
    st.sampled_from(Align),
    st.integers(1, 150),
    st.integers(1, 150),
)
def test_any_size_fits_and_comes_out_again(fit: Fit, align: Align, width: int, height: int) -> None:
    image = flat(width, height, 0.25, 0.5, 0.75)
    stitched = stitch(TWO, [image], settings=PanelSettings(fit, align, padding=(0, 0, 0)))
    (panel, _) = split(stitched.canvas, stitched.layout)
    placement = stitched.layout.placements[0]
    assert placement is not None
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[placement.content.rows, placement.content.columns] = True
    torch.testing.assert_close(panel[0][inside], torch.tensor([0.25, 0.5, 0.75]).expand(int(inside.sum()), 3))
    if fit is Fit.CONTAIN:
        assert panel[0][~inside].abs().max() == 0 if (~inside).any() else True
    else:
        torch.testing.assert_close(panel, image[:, :1, :1].expand_as(panel))
    back = split(stitched.canvas, stitched.layout, original_size=True)[0]
    size = (placement.crop.width, placement.crop.height)
    assert (back.shape[2], back.shape[1]) == size
    if fit is not Fit.COVER:
        assert size == (width, height)
    torch.testing.assert_close(back, image[:, :1, :1].expand_as(back))


@pytest.mark.parametrize(("width", "height"), [(65, 64), (64, 65), (65, 65), (63, 64), (64, 63)])
def test_one_pixel_off(width: int, height: int) -> None:
    image = picture(width, height)
    covered = stitch(TWO, [image], settings=PanelSettings(Fit.COVER, Align.TOP_LEFT))
    assert covered.canvas.shape == (1, 64, 128, 3)
    if min(width, height) == 64:  # nothing has to be resized, the one line more is cut
        assert torch.equal(split(covered.canvas, TWO)[0], image[:, :64, :64])
    contained = stitch(TWO, [image], settings=PanelSettings(Fit.CONTAIN, Align.TOP_LEFT))
    if max(width, height) == 64:  # nothing has to be resized, a line is padded
        assert torch.equal(split(contained.canvas, contained.layout, original_size=True)[0], image)
        assert contained.canvas[0, -1, 63].tolist() == [1, 1, 1]
    with pytest.raises(PanelError, match=rf"LEFT is {width}×{height}, but the panel is 64×64.*Resize"):
        stitch(TWO, [image], settings=EXACT)


@pytest.mark.parametrize(
    ("align", "crop", "content"),
    [
        (Align.CENTER, Box(32, 0, 64, 64), Box(0, 16, 64, 32)),
        (Align.LEFT, Box(0, 0, 64, 64), Box(0, 16, 64, 32)),
        (Align.RIGHT, Box(64, 0, 64, 64), Box(0, 16, 64, 32)),
        (Align.TOP, Box(32, 0, 64, 64), Box(0, 0, 64, 32)),
        (Align.BOTTOM, Box(32, 0, 64, 64), Box(0, 32, 64, 32)),
        (Align.TOP_LEFT, Box(0, 0, 64, 64), Box(0, 0, 64, 32)),
        (Align.TOP_RIGHT, Box(64, 0, 64, 64), Box(0, 0, 64, 32)),
        (Align.BOTTOM_LEFT, Box(0, 0, 64, 64), Box(0, 32, 64, 32)),
        (Align.BOTTOM_RIGHT, Box(64, 0, 64, 64), Box(0, 32, 64, 32)),
    ],
)
def test_alignment_of_a_wide_image(align: Align, crop: Box, content: Box) -> None:
    panel = Box(0, 0, 64, 64)
    assert place(128, 64, panel, PanelSettings(Fit.COVER, align)).crop == crop
    assert place(128, 64, panel, PanelSettings(Fit.CONTAIN, align)).content == content


def test_edges_are_extended() -> None:
    image = torch.cat([flat(64, 16, 1, 0, 0), flat(64, 16, 0, 0, 1)], dim=1)
    canvas = stitch(TWO, [image], settings=PanelSettings(Fit.CONTAIN_EDGE)).canvas
    assert canvas[0, 0, 0].tolist() == [1, 0, 0]
    assert canvas[0, 63, 63].tolist() == [0, 0, 1]


def test_each_panel_may_be_fitted_in_its_own_way() -> None:
    wide = flat(128, 64, 0, 0, 0)
    settings = [PanelSettings(Fit.CONTAIN), PanelSettings(Fit.COVER)]
    canvas = stitch(TWO, [wide, wide], settings=settings).canvas
    assert canvas[0, 0, 0].tolist() == [1, 1, 1]
    assert canvas[0, 0, 64].tolist() == [0, 0, 0]


def test_gutter_and_fill_have_their_colours() -> None:
    layout = arrange.columns(192, 64, 2, gutter=64)
    canvas = stitch(layout, [flat(64, 64, 0, 0, 0)], gutter=(1, 0, 0), fill=(0, 1, 0)).canvas
    assert canvas[0, 0, [0, 64, 128]].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_grey_becomes_rgb() -> None:
    image = picture(64, 64, channels=1)
    assert torch.equal(split(stitch(TWO, [image]).canvas, TWO)[0], image.expand(1, 64, 64, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_by_value(dtype: torch.dtype) -> None:
    image = picture(64, 64).to(dtype)
    canvas = stitch(TWO, [image]).canvas
    assert canvas.dtype == torch.float32
    assert torch.equal(split(canvas, TWO)[0], image.float())


def half_transparent() -> Tensor:
    image = flat(64, 64, 1, 0, 0, 1)
    image[:, :, 32:, 3] = 0
    return image


def test_transparency_is_flattened() -> None:
    stitched = stitch(TWO, [half_transparent()], settings=PanelSettings(padding=(0, 0, 1)))
    assert stitched.canvas[0, 0, [0, 32]].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert stitched.mask[0, 0, :64].sum() == 0


def test_transparency_is_repainted() -> None:
    stitched = stitch(TWO, [half_transparent()], settings=PanelSettings(alpha=Alpha.REPAINT))
    assert stitched.canvas[0, 0, [0, 32]].tolist() == [[1, 0, 0], list(NEUTRAL)]
    assert stitched.mask[0, 0].tolist() == [0] * 32 + [1] * 96


def test_an_image_without_a_batch_is_a_batch_of_one() -> None:
    assert torch.equal(stitch(TWO, [picture(64, 64)[0]]).canvas, stitch(TWO, [picture(64, 64)]).canvas)


@pytest.mark.parametrize("shape", [(1, 64, 64, 2), (64, 64), (1, 0, 64, 3), (1, 3, 64, 64)])
def test_a_file_that_is_not_an_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PanelError) as refused:
        stitch(TWO, [None, torch.zeros(shape)])
    assert "RIGHT" in str(refused.value)
    assert str(list(shape) if len(shape) != 3 else [1, *shape]) in str(refused.value)


def test_one_image_serves_a_whole_batch() -> None:
    one, three = picture(64, 64), picture(64, 64, batch=3, seed=1)
    left, right = split(stitch(TWO, [one, three]).canvas, TWO)
    assert torch.equal(left, one.expand(3, 64, 64, 3))
    assert torch.equal(right, three)


def test_batches_that_differ_are_refused() -> None:
    with pytest.raises(PanelError, match=r"LEFT 2, RIGHT 3.*same number"):
        stitch(TWO, [picture(64, 64, batch=2), picture(64, 64, batch=3)])


def test_a_mask_repaints_a_part_of_a_given_panel() -> None:
    image, mask = picture(64, 64), torch.zeros(1, 64, 64)
    mask[:, :16, :16] = 1
    stitched = stitch(TWO, [image, image], masks=[None, mask])
    expected = torch.zeros(1, 64, 128)
    expected[:, :16, 64:80] = 1
    assert torch.equal(stitched.mask, expected)
    _, right = split(stitched.canvas, TWO)
    assert torch.equal(right[:, 16:], image[:, 16:])
    assert (right[:, :16, :16] == 0.5).all()
    assert stitched.layout.given == (True, True)


def test_only_what_is_painted_entirely_is_filled() -> None:
    """A soft mask starts from the picture."""
    image = torch.rand(1, 64, 64, 3)
    mask = torch.linspace(0, 1, 64).expand(1, 64, 64).contiguous()
    stitched = stitch(arrange.columns(128, 64, 2), [image, None], masks=[mask], fill=(0.0, 0.0, 0.0))
    assert torch.equal(stitched.canvas[:, :, :63], image[:, :, :63])
    assert not bool(stitched.canvas[:, :, 63:].any())


def test_a_mask_is_cut_and_resized_with_its_image() -> None:
    mask = torch.zeros(1, 128, 256)
    mask[:, :, 128:192] = 1
    stitched = stitch(TWO, [picture(256, 128)], masks=[mask])  # its middle 128×128 shows, at half the size
    assert (stitched.mask[0, :, 34:64] > 0.5).all()
    assert (stitched.mask[0, :, :30] < 0.5).all()


@pytest.mark.parametrize(
    "shape", [(1, 100, 80), (100, 80), (1, 1, 100, 80), (1, 100, 80, 1)], ids=["mask", "flat", "channel", "last"]
)
def test_every_shape_of_mask(shape: tuple[int, ...]) -> None:
    stitched = stitch(TWO, [picture(80, 100)], masks=[torch.ones(shape)], settings=PanelSettings(Fit.STRETCH))
    torch.testing.assert_close(stitched.mask, torch.ones(1, 64, 128))


def test_the_empty_mask_of_load_image_fits_any_image() -> None:
    stitched = stitch(TWO, [picture(100, 90)], masks=[torch.zeros(1, 64, 64)])
    assert stitched.mask[0, :, :64].sum() == 0


@pytest.mark.parametrize(
    ("images", "masks", "says"),
    [
        ([picture(100, 90)], [torch.ones(1, 64, 64)], ["LEFT is 64×64", "100×90", "resize"]),
        ([picture(64, 64, batch=3)], [torch.ones(2, 64, 64)], ["batch of 2", "batch of 3", "one mask"]),
        ([picture(64, 64)], [torch.ones(1, 2, 64, 64)], ["[1, 2, 64, 64]"]),
        ([None, picture(64, 64)], [torch.ones(1, 64, 64)], ["LEFT has a mask but no image"]),
        ([picture(64, 64)] * 3, [], ["3 images", "2 panels", "larger layout"]),
        ([], [None] * 3, ["3 masks", "2 panels"]),
    ],
)
def test_what_does_not_fit_is_refused(images: list[Tensor | None], masks: list[Tensor | None], says: list[str]) -> None:
    with pytest.raises(PanelError) as refused:
        stitch(TWO, images, masks=masks)
    for words in says:
        assert words in str(refused.value)


def test_settings_are_one_or_one_a_panel() -> None:
    with pytest.raises(PanelError, match="3 panel settings for a layout of 2"):
        stitch(TWO, [], settings=[EXACT] * 3)


@given(st.integers(0, 63), st.integers(0, 63), st.integers(2, 64), st.integers(2, 64))
def test_a_touched_pixel_stays_touched_when_the_mask_shrinks(x: int, y: int, width: int, height: int) -> None:
    mask = torch.zeros(1, 64, 64)
    mask[0, y, x] = 1
    assert resize_mask(mask, width, height).max() > 0


def test_resized_images_stay_in_range() -> None:
    checkers = (torch.arange(64)[:, None] // 4 + torch.arange(64) // 4) % 2
    image = checkers[None, ..., None].float().expand(1, 64, 64, 3)
    assert 0 <= resize(image, 150, 90).min() <= resize(image, 150, 90).max() <= 1
    assert torch.equal(resize(image, 64, 64), image)


def test_split_takes_any_number_of_channels() -> None:
    assert [panel.shape for panel in split(picture(128, 64, channels=4), TWO)] == [(1, 64, 64, 4)] * 2


def test_split_refuses_another_canvas() -> None:
    with pytest.raises(LayoutError, match=r"100×64.*128×64.*Connect the layout"):
        split(picture(100, 64), TWO)
    with pytest.raises(LayoutError, match="whole pixels"):
        split(picture(2, 1), arrange.columns(128, 64, 4))


def test_original_size_of_a_doubled_canvas_is_twice_the_original_size() -> None:
    stitched = stitch(TWO, [flat(100, 50, 0, 1, 0)], settings=PanelSettings(Fit.CONTAIN))
    doubled = stitched.canvas.repeat_interleave(2, 1).repeat_interleave(2, 2)
    left, right = split(doubled, stitched.layout, original_size=True)
    assert left.shape == (1, 100, 200, 3)
    torch.testing.assert_close(left, flat(200, 100, 0, 1, 0))
    assert right.shape == (1, 128, 128, 3)


def test_all_panels_are_generated_where_nothing_was_stitched() -> None:
    panels = split(picture(128, 64), TWO)
    assert generated(panels, TWO) == panels
