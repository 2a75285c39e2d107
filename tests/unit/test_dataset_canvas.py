from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.dataset.canvas import cuts, from_composite, from_panels, mask
from incontext_lora.incontext.dataset.images import Picture
from incontext_lora.incontext.dataset.manifest import read_references
from incontext_lora.incontext.dataset.options import BuildOptions, Composite
from incontext_lora.incontext.errors import DatasetError, LayoutError, PanelError
from incontext_lora.incontext.panels.arrange import columns, grid, nested, rows
from incontext_lora.incontext.panels.choices import Fit
from incontext_lora.tests.dataset_sets import RECIPE, picture

LAYOUT = RECIPE.layout
LAYOUTS = st.sampled_from(
    [rows(1024, 1536, 3), columns(2048, 1024, 2), grid(1344, 1728, 2, 2), nested(960, 640, [1, 2, 3])]
)


def loaded(seed: int, size: tuple[int, int]) -> Picture:
    image = picture(seed, size)
    return Picture(np.array(image), image.width, image.height)


@given(LAYOUTS, st.integers(8, 3000), st.integers(8, 3000))
def test_cuts_use_every_pixel_of_a_composite_once(layout, width: int, height: int) -> None:
    boxes = cuts(width, height, layout)
    assert sum(box.width * box.height for box in boxes) == width * height
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@given(LAYOUTS)
def test_cuts_of_the_canvas_itself_are_its_boxes(layout) -> None:
    assert cuts(layout.width, layout.height, layout) == layout.boxes


def test_cuts_are_at_the_nearest_pixel() -> None:
    assert [box.height for box in cuts(1080, 1441, rows(1024, 1536, 3))] == [480, 481, 480]


def test_a_composite_that_is_too_small() -> None:
    with pytest.raises(PanelError, match="100×2"):
        cuts(100, 2, LAYOUT)


def test_panels_of_the_right_size_come_through_unchanged() -> None:
    pictures = [loaded(seed, (128, 64)) for seed in range(3)]
    composite = from_panels(LAYOUT, pictures, BuildOptions())
    assert np.array_equal(composite.pixels, np.concatenate([p.pixels for p in pictures]))
    assert composite.remarks == ()


def test_a_composite_of_the_right_size_comes_through_unchanged() -> None:
    whole = loaded(1, (128, 192))
    for way in Composite:
        assert np.array_equal(from_composite(LAYOUT, whole, BuildOptions(composite=way)).pixels, whole.pixels)


def test_the_seams_of_a_composite_fall_on_the_seams_of_the_layout() -> None:
    colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
    bands = np.repeat(colours, [48, 49, 48], axis=0)  # a canvas of 145 rows
    source = np.repeat(bands[:, None], 108, axis=1)
    composite = from_composite(LAYOUT, Picture(source, 108, 145), BuildOptions()).pixels
    for colour, box in zip(colours, LAYOUT.boxes, strict=True):
        assert np.array_equal(np.unique(composite[box.rows, box.columns].reshape(-1, 3), axis=0), colour[None])
    whole = from_composite(LAYOUT, Picture(source, 108, 145), BuildOptions(composite=Composite.WHOLE)).pixels
    assert not np.array_equal(whole, composite)


def test_small_images_and_large_cuts_are_reported_once_an_image() -> None:
    small, tall = loaded(1, (40, 20)), loaded(2, (300, 600))
    remarks = from_panels(LAYOUT, [small, tall, loaded(3, (128, 64))], BuildOptions()).remarks
    assert [(remark.image, remark.problem.split(" was ")[1][:8]) for remark in remarks] == [
        (0, "enlarged"),
        (1, "cut away"),
    ]
    assert len(from_composite(LAYOUT, loaded(4, (40, 60)), BuildOptions()).remarks) == 1


def test_exact_refuses_another_size() -> None:
    with pytest.raises(PanelError, match="SCENE-1 is 127×64"):
        from_panels(LAYOUT, [loaded(1, (127, 64))] * 3, BuildOptions(fit=Fit.EXACT))


def test_the_mask_is_white_on_what_is_learned() -> None:
    layout = columns(192, 64, 2, gutter=32)
    expected = np.zeros((64, 192), np.uint8)
    expected[:, 112:] = 255
    assert np.array_equal(mask(layout, (0,)), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("1", (0,)),
        ("3, 1", (0, 2)),
        ("scene-2", (1,)),
        ("[SCENE-3]", (2,)),
        ("1 SCENE-2", (0, 1)),
        ("1;1", (0,)),
    ],
)
def test_references_by_number_and_name(text: str, expected: tuple[int, ...]) -> None:
    assert read_references(text, LAYOUT) == expected


@pytest.mark.parametrize("text", ["4", "0", "LEFT", "1, 2, 3", "-1"])
def test_references_that_cannot_be(text: str) -> None:
    with pytest.raises((DatasetError, LayoutError)):
        read_references(text, LAYOUT)


def test_references_with_spaces_in_their_names() -> None:
    assert read_references("the left one", columns(128, 64, 2).named(["the left one", "other"])) == (0,)
