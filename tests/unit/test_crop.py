"""Context windows and pasting: what is outside the mask never changes, and what was not painted comes back as it was."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.panels.arrange import columns
from incontext_lora.incontext.panels.box import Box, Placement
from incontext_lora.incontext.panels.colour_match import ColourMatch, matched
from incontext_lora.incontext.panels.edge import extended, extended_mask
from incontext_lora.incontext.panels.fit import Align, Fit, PanelSettings, resize
from incontext_lora.incontext.panels.layout import PanelLayout
from incontext_lora.incontext.panels.paste import inward, keep_given, paste, paste_windows
from incontext_lora.incontext.panels.rework import repaint
from incontext_lora.incontext.panels.stitch import split, stitch
from incontext_lora.incontext.panels.windows import Windows, context_crop, grown, masked_regions, window_around
from torch import Tensor

PANELS = [None, (64, 64), (48, 64), (96, 32), (80, 48), (672 // 8, 864 // 8)]


class Case(NamedTuple):
    pictures: Tensor
    masks: Tensor
    panel: tuple[int, int] | None
    context: float
    grow: int
    enlarge: bool
    apart: bool
    seed: int

    def crop(self):
        return context_crop(
            self.pictures,
            self.masks,
            panel=self.panel,
            context=self.context,
            grow=self.grow,
            enlarge=self.enlarge,
            apart=self.apart,
        )

    @property
    def written(self) -> Tensor:
        return grown(self.masks.expand(self.pictures.shape[0], -1, -1), self.grow) > 0

    def noise(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=torch.Generator().manual_seed(self.seed))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    width, height = draw(st.integers(9, 150)), draw(st.integers(9, 150))
    batch, channels = draw(st.integers(1, 2)), draw(st.sampled_from([3, 3, 4]))
    seed = draw(st.integers(0, 10_000))
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(draw(st.sampled_from([1, batch])), height, width)
    for mask in masks:
        for _ in range(draw(st.integers(1, 3))):
            # from the very border to the very border
            left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
            right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
            soft = draw(st.booleans())
            spot = mask[top:bottom, left:right]
            spot[:] = torch.rand(spot.shape, generator=generator).clamp(min=0.01) if soft else 1.0
    return Case(
        torch.rand(batch, height, width, channels, generator=generator),
        masks,
        draw(st.sampled_from(PANELS)),
        draw(st.sampled_from([0.0, 0.1, 0.5, 2.0])),
        draw(st.integers(0, 5)),
        draw(st.booleans()),
        draw(st.booleans()),
        seed,
    )


@settings(max_examples=50)
@given(cases(), st.integers(0, 6), st.sampled_from(ColourMatch))
def test_an_unpainted_crop_pastes_back_as_nothing(case: Case, feather: int, colours: ColourMatch) -> None:
    cropped = case.crop()
    result = paste_windows(case.pictures, cropped.crops, cropped.windows, feather=feather, colours=colours)
    assert torch.equal(result, case.pictures)


@settings(max_examples=50)
@given(cases(), st.integers(0, 6), st.sampled_from(ColourMatch))
def test_no_pixel_outside_the_mask_is_written(case: Case, feather: int, colours: ColourMatch) -> None:
    cropped = case.crop()
    painted = case.noise(*cropped.crops.shape)
    result = paste_windows(case.pictures, painted, cropped.windows, feather=feather, colours=colours)
    assert result.shape == case.pictures.shape
    untouched = ~case.written
    assert torch.equal(result[untouched], case.pictures[untouched])
    assert torch.equal(result[..., 3:], case.pictures[..., 3:])


@settings(max_examples=50)
@given(cases())
def test_everything_inside_the_mask_is_written(case: Case) -> None:
    case = case._replace(masks=(case.masks > 0).float())
    cropped = case.crop()
    painted = torch.full_like(cropped.crops, 0.123)
    result = paste_windows(case.pictures, painted, cropped.windows)
    inside = result[..., :3][case.written]
    assert torch.allclose(inside, torch.full_like(inside, 0.123), atol=1e-5)


@settings(max_examples=50)
@given(cases())
def test_crops_have_the_panel_s_size_and_hold_the_whole_mask(case: Case) -> None:
    cropped = case.crop()
    windows = cropped.windows
    size = (windows.panel_width, windows.panel_height)
    assert case.panel in (None, size)
    assert tuple(cropped.crops.shape) == (len(windows), size[1], size[0], 3)
    assert tuple(cropped.masks.shape) == (len(windows), size[1], size[0])
    seen = torch.zeros_like(case.written)
    for region in windows.regions:
        box, window = region.touched, region.window
        assert window.left <= box.left
        assert window.right >= box.right
        assert window.top <= box.top
        assert window.bottom >= box.bottom
        assert window.width * size[1] == window.height * size[0]  # exactly the panel's proportions
        seen[region.picture, box.rows, box.columns] |= region.mask > 0
    assert torch.equal(seen, case.written)
    if case.panel is None:
        assert all(side % 16 == 0 for side in size)
        assert all((region.window.width, region.window.height) == size for region in windows.regions)


@settings(max_examples=50)
@given(cases())
def test_a_window_leaves_the_picture_only_if_it_must(case: Case) -> None:
    windows = case.crop().windows
    for region in windows.regions:
        window = region.window
        if window.width <= windows.width:
            assert window.left >= 0
            assert window.right <= windows.width
        if window.height <= windows.height:
            assert window.top >= 0
            assert window.bottom <= windows.height


def test_context_is_given_up_before_the_window_leaves_the_picture() -> None:
    assert window_around(Box(40, 40, 20, 20), 100, 100, (64, 64), context=5.0, enlarge=True) == Box(0, 0, 100, 100)
    assert window_around(Box(90, 0, 10, 10), 100, 100, (64, 64), context=0.5, enlarge=True) == Box(80, 0, 20, 20)
    wide = window_around(Box(0, 0, 100, 10), 100, 40, (64, 64), context=0.0, enlarge=True)
    assert wide == Box(0, -45, 100, 100)  # it must, and lies as centred as it can


def test_what_lies_beyond_the_picture_is_neutral_and_to_be_painted() -> None:
    pictures, mask = torch.ones(1, 20, 80, 3), torch.zeros(1, 20, 80)
    mask[:, 5:15, 2:78] = 1
    cropped = context_crop(pictures, mask, panel=(64, 64), context=0.0)
    placement = cropped.windows.placement(cropped.windows.regions[0])
    beyond = torch.ones(64, 64, dtype=torch.bool)
    beyond[placement.content.rows, placement.content.columns] = False
    assert beyond.sum() > 64 * 30
    assert bool((cropped.crops[0][beyond] == 0.5).all())
    assert bool((cropped.masks[0][beyond] == 1).all())
    assert float((cropped.crops[0][~beyond] - 1).abs().max()) < 1e-5


def test_regions_apart_get_a_window_each_and_all_come_back() -> None:
    pictures = torch.rand(1, 90, 120, 3)
    mask = torch.zeros(1, 90, 120)
    mask[0, 5:15, 5:15] = 1
    mask[0, 60:80, 90:110] = 1
    cropped = context_crop(pictures, mask, panel=(32, 32), apart=True)
    assert [region.touched for region in cropped.windows.regions] == [Box(5, 5, 10, 10), Box(90, 60, 20, 20)]
    painted = torch.stack([torch.full((32, 32, 3), 0.25), torch.full((32, 32, 3), 0.75)])
    result = paste_windows(pictures, painted, cropped.windows)
    assert torch.allclose(result[0, 5:15, 5:15], torch.tensor(0.25))
    assert torch.allclose(result[0, 60:80, 90:110], torch.tensor(0.75))
    assert torch.equal(result[mask == 0], pictures[mask == 0])
    assert len(context_crop(pictures, mask, panel=(32, 32)).windows) == 1


def test_several_versions_of_a_crop_give_several_pictures() -> None:
    pictures, mask = torch.rand(1, 40, 40, 3), torch.zeros(1, 40, 40)
    mask[:, 10:20, 10:20] = 1
    cropped = context_crop(pictures, mask, panel=(16, 16))
    painted = torch.stack([torch.full((16, 16, 3), value) for value in (0.1, 0.9)])
    result = paste_windows(pictures, painted, cropped.windows)
    assert result.shape[0] == 2
    assert torch.allclose(result[:, 12, 12, 0], torch.tensor([0.1, 0.9]))


def test_an_enlarged_crop_is_pasted_at_the_picture_s_size() -> None:
    pictures, mask = torch.rand(1, 40, 40, 3), torch.zeros(1, 40, 40)
    mask[:, 10:20, 10:20] = 1
    cropped = context_crop(pictures, mask, panel=(16, 16))
    result = paste_windows(pictures, torch.full((1, 64, 64, 3), 0.5), cropped.windows)
    assert torch.allclose(result[mask > 0], torch.tensor(0.5))
    assert torch.equal(result[mask == 0], pictures[mask == 0])
    with pytest.raises(PanelError, match="other proportions"):
        paste_windows(pictures, torch.zeros(1, 64, 32, 3), cropped.windows)


@given(st.integers(20, 90), st.integers(20, 90), st.sampled_from([Fit.COVER, Fit.CONTAIN, Fit.STRETCH]))
def test_a_stitched_panel_goes_back_into_its_picture_by_its_placement(width: int, height: int, fit: Fit) -> None:
    picture = torch.rand(1, height, width, 3)
    mask = torch.zeros(1, height, width)
    mask[:, height // 4 : height // 2, width // 4 : width // 2] = 1
    layout = columns(128, 64, 2)
    stitched = stitch(layout, [None, picture], masks=[None, mask], settings=PanelSettings(fit, Align.TOP_LEFT))
    placement = stitched.layout.placements[1]
    assert placement is not None
    unpainted = stitch(layout, [None, picture], settings=PanelSettings(fit, Align.TOP_LEFT))
    panel = split(unpainted.canvas, layout)[1]
    assert torch.equal(paste(picture, panel, placement, layout.boxes[1], mask), picture)
    result = paste(picture, torch.zeros_like(panel), placement, layout.boxes[1], mask)
    assert torch.equal(result[mask == 0], picture[mask == 0])
    shown = torch.zeros_like(mask)
    shown[:, placement.crop.rows, placement.crop.columns] = 1
    written = result[(mask > 0) & (shown > 0)]
    assert torch.equal(written, torch.zeros_like(written))
    hidden = (mask > 0) & (shown == 0)  # cut off when it was fitted, so never painted
    assert torch.equal(result[hidden], picture[hidden])


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
    expected = picture * (1 - inward(hard, 4))[..., None]
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
    assert torch.allclose(kept, finished * (1 - inward(opened.mask, 4))[..., None], atol=1e-6)
    with pytest.raises(PanelError, match="before panels were opened"):
        keep_given(opened.canvas, finished, opened.mask, pictures=finished[:, :32])


@pytest.mark.parametrize(("width", "height"), [(1510, 1004), (1000, 1000), (70, 129)])
@pytest.mark.parametrize("step", [8, 16, 32])
def test_an_extended_canvas_comes_back_in_its_own_size(width: int, height: int, step: int) -> None:
    canvas = torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, height, width)
    mask[:, :, width // 2 :] = 1
    painted = extended(canvas, step)
    assert painted.shape[1] % step == painted.shape[2] % step == 0
    assert torch.equal(painted[:, -1, -1], canvas[:, -1, -1])
    assert extended_mask(mask, step).shape == painted.shape[:3]
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
    soft = inward(mask, feather)
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
    assert torch.allclose(result[..., 0], inward(mask, 5))


def test_the_picture_s_border_is_no_edge() -> None:
    mask = torch.zeros(1, 20, 20)
    mask[:, :10] = 1
    soft = inward(mask, 4)
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
    assert torch.allclose(matched(painted, reference, ColourMatch.MEAN_AND_CONTRAST), reference, atol=1e-5)
    assert matched(painted, reference, ColourMatch.OFF) is painted
    few = torch.zeros(1, 32, 32, dtype=torch.bool)
    assert torch.equal(matched(painted, reference, ColourMatch.MEAN, where=few), painted)


def test_readable_refusals() -> None:
    picture = torch.rand(1, 40, 60, 3)
    with pytest.raises(PanelError, match="mask is empty"):
        context_crop(picture, torch.zeros(1, 40, 60))
    with pytest.raises(PanelError, match="mask is empty"):
        context_crop(picture, torch.zeros(1, 64, 64))
    with pytest.raises(PanelError, match=r"picture 60×40"):
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
    with pytest.raises(PanelError, match="'pictures' has 3 pictures, and there are 1 canvases"):
        keep_given(canvas, painted, torch.ones(1, 8, 8), pictures=torch.zeros(3, 8, 8, 3))
    with pytest.raises(PanelError, match="'pictures' has 3 pictures, and there are 2 canvases"):
        keep_given(canvas, painted.expand(2, -1, -1, -1), torch.ones(1, 8, 8), pictures=torch.zeros(3, 8, 8, 3))
