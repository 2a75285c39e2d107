"""Painted panels back into the pictures that were there: soft edges, matched colours, kept pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.panels.arrange import columns
from incontext_lora.incontext.panels.box import Box, Placement
from incontext_lora.incontext.panels.choices import ColourMatch
from incontext_lora.incontext.panels.colour_match import match_colours
from incontext_lora.incontext.panels.edge import extend_edges, extend_mask
from incontext_lora.incontext.panels.fit import resize
from incontext_lora.incontext.panels.layout import PanelLayout
from incontext_lora.incontext.panels.paste import fade_inward, keep_given, paste, paste_windows
from incontext_lora.incontext.panels.rework import repaint
from incontext_lora.incontext.panels.stitch import split, stitch
from incontext_lora.incontext.panels.windows import Windows, context_crop, masked_regions


def test_keep_given_returns_the_given_panels_to_the_bit() -> None:
    layout = columns(192, 64, 3)
    given_panel = torch.rand(1, 64, 64, 3)
    stitched = stitch(layout, [given_panel, None, given_panel])
    result = keep_given(stitched.canvas, torch.rand(2, 64, 192, 3), stitched.mask)
    first, second, third = split(result, layout)
    assert torch.equal(first, given_panel.expand(2, -1, -1, -1))
    assert torch.equal(third, given_panel.expand(2, -1, -1, -1))
    assert not torch.equal(second[0], second[1])


def partly_masked() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A bright picture, a hard mask on it and a soft one."""
    picture = 0.9 + 0.1 * torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))
    hard = torch.zeros(1, 64, 64)
    hard[:, 16:48, 16:48] = 1
    soft = torch.nn.functional.avg_pool2d(hard, 9, stride=1, padding=4)
    return picture, hard, soft


@pytest.mark.parametrize("knows_pictures", [False, True])
@pytest.mark.parametrize(("soft", "feather"), [(False, 8), (True, 0), (True, 8), (False, 0)])
def test_the_fill_colour_never_shines_through(soft: bool, feather: int, knows_pictures: bool) -> None:
    """Painting exactly what was there gives the picture back, however soft the mask and its edge are."""
    picture, hard, blurred = partly_masked()
    layout = columns(128, 64, 2)
    stitched = stitch(layout, [picture, None], masks=[blurred if soft else hard])
    before = stitch(layout, [picture, None]).canvas
    painted = torch.cat([picture, torch.full((1, 64, 64, 3), 0.95)], 2)
    pictures = before if knows_pictures else None
    kept = keep_given(stitched.canvas, painted, stitched.mask, pictures=pictures, feather=feather)
    assert torch.allclose(kept, painted, atol=1e-6)  # and the open panel has no grey rim


def test_painted_parts_fade_into_the_picture_that_was_there() -> None:
    picture, hard, soft = partly_masked()
    before = stitch(columns(128, 64, 2), [picture, None]).canvas
    stitched = stitch(columns(128, 64, 2), [picture, None], masks=[hard])
    black = torch.zeros(1, 64, 128, 3)
    kept = keep_given(stitched.canvas, black, stitched.mask, pictures=before, feather=4)
    expected = picture * (1 - fade_inward(hard, 4))[..., None]
    assert torch.allclose(kept[:, :, :64], expected, atol=1e-6)
    assert not bool(kept[:, :, 64:].any())
    stitched = stitch(columns(128, 64, 2), [picture, None], masks=[soft])
    kept = keep_given(stitched.canvas, black, stitched.mask)
    assert torch.allclose(kept[:, :, :64], picture * (1 - soft)[..., None], atol=1e-6)


def test_a_finished_set_may_serve_as_the_pictures_that_were_there() -> None:
    finished = torch.rand(1, 64, 128, 3, generator=torch.Generator().manual_seed(3))
    layout = columns(128, 64, 2)
    opened = repaint(finished, layout, [1])
    kept = keep_given(opened.canvas, torch.zeros_like(finished), opened.mask, pictures=finished, feather=4)
    assert torch.allclose(kept, finished * (1 - fade_inward(opened.mask, 4))[..., None], atol=1e-6)
    with pytest.raises(PanelError, match="before panels were opened"):
        keep_given(opened.canvas, finished, opened.mask, pictures=finished[:, :32])


@pytest.mark.parametrize(("width", "height"), [(1510, 1004), (1000, 1000), (70, 129)])
@pytest.mark.parametrize("step", [8, 16, 32])
def test_an_extended_canvas_comes_back_in_its_own_size(width: int, height: int, step: int) -> None:
    canvas = torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, height, width)
    mask[:, :, width // 2 :] = 1
    painted = extend_edges(canvas, step)
    assert painted.shape[1] % step == painted.shape[2] % step == 0
    assert torch.equal(painted[:, -1, -1], canvas[:, -1, -1])
    assert extend_mask(mask, step).shape == painted.shape[:3]
    kept = keep_given(torch.zeros_like(canvas), painted, mask)
    assert torch.equal(kept, canvas * mask[..., None])
    layout = PanelLayout(width, height, (Box(0, 0, width // 2, height), Box(width // 2, 0, width - width // 2, height)))
    assert torch.equal(torch.cat(split(painted, layout), 2), canvas)


def test_a_canvas_that_the_autoencoder_cut_is_refused_with_the_remedy() -> None:
    with pytest.raises(PanelError, match="Take the latent from Condition Panels"):
        keep_given(torch.rand(1, 1004, 1510, 3), torch.rand(1, 1000, 1504, 3), torch.zeros(1, 1004, 1510))


@given(st.integers(0, 12), st.integers(0, 1000))
def test_feathering_only_lowers_and_reaches_the_full_value(feather: int, seed: int) -> None:
    mask = torch.zeros(1, 50, 60)
    generator = torch.Generator().manual_seed(seed)
    top, left = (int(v) for v in torch.randint(0, 40, (2,), generator=generator))
    mask[:, top : top + 9, left : left + 2] = 1
    mask[:, top : top + 3, left:] = 1
    soft = fade_inward(mask, feather)
    assert bool((soft <= mask).all())
    assert bool((soft[mask > 0] > 0).all())
    assert float(soft.max()) == 1
    if feather == 0:
        assert torch.equal(soft, mask)


def test_feathering_in_paste_is_that_of_the_whole_mask() -> None:
    picture, mask = torch.zeros(1, 40, 50, 3), torch.zeros(1, 40, 50)
    mask[:, 12:31, 30:] = 1
    mask[:, 20:23, 5:35] = 1
    whole = Box(0, 0, 50, 40)
    result = paste(picture, torch.ones_like(picture), Placement(50, 40, whole, whole), whole, mask, feather=5)
    assert torch.allclose(result[..., 0], fade_inward(mask, 5))


def test_the_border_of_the_picture_is_not_an_edge() -> None:
    mask = torch.zeros(1, 20, 20)
    mask[:, :10] = 1
    soft = fade_inward(mask, 4)
    assert bool((soft[:, :7] == 1).all())
    assert soft[0, 6:10, 5].tolist() == [1.0, 0.75, 0.5, 0.25]


def test_colours_are_matched_to_what_is_seen_around_the_mask() -> None:
    picture = torch.linspace(0.25, 0.75, 64).expand(1, 64, 64)[..., None].expand(1, 64, 64, 3).contiguous()
    mask = torch.zeros(1, 64, 64)
    mask[:, 20:40, 20:40] = 1
    cropped = context_crop(picture, mask, panel=(64, 64), context=1.0)
    shifted = (cropped.crops + torch.tensor([0.1, -0.05, 0.0])).clamp(0, 1)
    off = paste_windows(picture, shifted, cropped.windows)
    on = paste_windows(picture, shifted, cropped.windows, colours=ColourMatch.MEAN)
    assert float((off - picture).abs().max()) > 0.04
    assert float((on - picture)[mask > 0].abs().mean()) < 0.02


def test_matching_brings_mean_and_spread() -> None:
    reference = torch.rand(1, 32, 32, 3) * 0.4 + 0.3
    painted = reference * 0.7 + 0.2
    assert torch.allclose(match_colours(painted, reference, ColourMatch.MEAN_AND_CONTRAST), reference, atol=1e-5)
    assert match_colours(painted, reference, ColourMatch.OFF) is painted
    few = torch.zeros(1, 32, 32, dtype=torch.bool)
    assert torch.equal(match_colours(painted, reference, ColourMatch.MEAN, where=few), painted)


def test_readable_refusals() -> None:
    picture = torch.rand(1, 40, 60, 3)
    with pytest.raises(PanelError, match="mask is empty"):
        context_crop(picture, torch.zeros(1, 40, 60))
    with pytest.raises(PanelError, match="mask is empty"):
        context_crop(picture, torch.zeros(1, 64, 64))
    with pytest.raises(PanelError, match=r"picture is 60×40"):
        context_crop(picture, torch.ones(1, 60, 40))
    mask = torch.zeros(1, 40, 60)
    mask[:, 4:9, 4:9] = 1
    windows: Windows = context_crop(picture, mask, panel=(32, 32)).windows
    with pytest.raises(PanelError, match="Connect the picture that Context Crop was given"):
        paste_windows(torch.rand(1, 41, 60, 3), torch.rand(1, 32, 32, 3), windows)
    with pytest.raises(PanelError, match="1 windows"):
        paste_windows(picture, torch.rand(0, 32, 32, 3), windows)
    with pytest.raises(PanelError, match="Paste before enlarging"):
        keep_given(picture, torch.rand(1, 80, 120, 3), mask)


def test_masked_regions_touching_at_a_corner_are_one() -> None:
    mask = torch.zeros(30, 30)
    mask[3:6, 3:6] = 1
    mask[6:9, 6:9] = 1
    mask[20:22, 1:4] = 0.5
    boxes = [box for box, _ in masked_regions(mask)]
    assert boxes == [Box(3, 3, 6, 6), Box(1, 20, 3, 2)]
    assert masked_regions(torch.zeros(5, 5)) == []


def test_resizing_twice_is_not_relied_on() -> None:
    """The identity above is not an accident of resizing: an enlarged and reduced crop differs from the picture."""
    picture = torch.rand(1, 30, 30, 3)
    assert not torch.allclose(resize(resize(picture, 47, 47), 30, 30), picture, atol=1e-3)


def test_earlier_pictures_of_another_number_are_refused() -> None:
    canvas, painted = torch.zeros(1, 8, 8, 3), torch.ones(1, 8, 8, 3)
    with pytest.raises(PanelError, match="'pictures' has 3 pictures for 1 canvases"):
        keep_given(canvas, painted, torch.ones(1, 8, 8), pictures=torch.zeros(3, 8, 8, 3))
    with pytest.raises(PanelError, match="'pictures' has 3 pictures for 2 canvases"):
        keep_given(canvas, painted.expand(2, -1, -1, -1), torch.ones(1, 8, 8), pictures=torch.zeros(3, 8, 8, 3))
