"""Windows around what is masked, and pasting what was painted in them."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from incontext_lora.incontext.errors import PanelError
from incontext_lora.incontext.panels.arrange import columns
from incontext_lora.incontext.panels.box import Box
from incontext_lora.incontext.panels.choices import Align, ColourMatch, Fit
from incontext_lora.incontext.panels.fit import PanelSettings
from incontext_lora.incontext.panels.paste import paste, paste_windows
from incontext_lora.incontext.panels.stitch import split, stitch
from incontext_lora.incontext.panels.windows import context_crop, grow_masks, window_around
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
        return grow_masks(self.masks.expand(self.pictures.shape[0], -1, -1), self.grow) > 0

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
    with pytest.raises(PanelError, match="different proportions"):
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
