from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from incontext_lora.incontext.errors import LayoutError
from incontext_lora.incontext.panels import arrange
from incontext_lora.incontext.panels.box import Box, Placement
from incontext_lora.incontext.panels.layout import PanelLayout

STEPS = (8, 16, 32, 64)


@st.composite
def divisions(draw: st.DrawFn) -> tuple[int, int, list[int], int, int]:
    """Canvas, columns per row, gutter and step that fit together."""
    step = draw(st.sampled_from(STEPS))
    counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    gutter = step * draw(st.integers(0, 4))

    def side(count: int) -> int:
        smallest = count * max(step, 16) + gutter * (count - 1)
        return 64 * draw(st.integers(-(-smallest // 64), -(-smallest // 64) + 20))

    return side(max(counts)), side(len(counts)), counts, gutter, step


def covered(layout: PanelLayout) -> int:
    """Pixels of the canvas that lie in some panel, counted one by one."""
    return len({(x, y) for b in layout.boxes for x in range(b.left, b.right) for y in range(b.top, b.bottom)})


@given(divisions())
def test_every_pixel_of_a_nested_layout_is_accounted_for(division: tuple[int, int, list[int], int, int]) -> None:
    width, height, counts, gutter, step = division
    layout = arrange.nested(width, height, counts, gutter=gutter, step=step)
    assert len(layout) == sum(counts)
    boxes = iter(layout.boxes)
    top = 0
    for count in counts:
        row = [next(boxes) for _ in range(count)]
        assert {(box.top, box.height) for box in row} == {(top, row[0].height)}
        assert row[0].left == 0
        assert [box.left for box in row[1:]] == [box.right + gutter for box in row[:-1]]
        assert row[-1].right == width
        top = row[0].bottom + gutter
    assert top - gutter == height
    between_rows = gutter * (len(counts) - 1) * width
    heights = [layout.boxes[sum(counts[:i])].height for i in range(len(counts))]
    between_columns = sum(gutter * (count - 1) * tall for count, tall in zip(counts, heights, strict=True))
    assert layout.gutter_area == between_rows + between_columns


@given(divisions())
def test_equal_shares_differ_by_one_step_at_most(division: tuple[int, int, list[int], int, int]) -> None:
    width, height, counts, gutter, step = division
    layout = arrange.nested(width, height, counts, gutter=gutter, step=step)
    assert all(side % step == 0 for box in layout.boxes for side in (box.width, box.height))
    tall = [box.height for box in layout.boxes]
    assert max(tall) - min(tall) <= step
    for top in {box.top for box in layout.boxes}:
        wide = [box.width for box in layout.boxes if box.top == top]
        assert max(wide) - min(wide) <= step


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.sampled_from(STEPS), st.integers(0, 30))
def test_weights_divide_without_a_remainder(weights: list[float], step: int, spare: int) -> None:
    units = len(weights) * max(1, 16 // step) + spare
    parts = arrange.divide(units * step, len(weights), weights=weights, step=step)
    assert sum(parts) == units * step
    assert all(part % step == 0 and part >= 16 for part in parts)
    ranked = [part for _, part in sorted(zip(weights, parts, strict=True))]
    assert all(later >= earlier - step for earlier, later in itertools.pairwise(ranked))


@given(divisions())
def test_a_layout_survives_json(division: tuple[int, int, list[int], int, int]) -> None:
    width, height, counts, gutter, step = division
    layout = arrange.nested(width, height, counts, gutter=gutter, step=step)
    assert PanelLayout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


def test_weighted_rows_take_their_shares() -> None:
    layout = arrange.nested(64, 640, [1, 2], row_weights=[3, 1])
    assert [box.height for box in layout.boxes] == [480, 160, 160]


@pytest.mark.parametrize(
    ("layout", "boxes"),
    [
        (arrange.rows(64, 128, 2), [(0, 0, 64, 64), (0, 64, 64, 64)]),
        (arrange.columns(128, 64, 2, gutter=32), [(0, 0, 48, 64), (80, 0, 48, 64)]),
        (arrange.grid(64, 64, 2, 2), [(0, 0, 32, 32), (32, 0, 32, 32), (0, 32, 32, 32), (32, 32, 32, 32)]),
        (arrange.columns(128, 64, 3), [(0, 0, 48, 64), (48, 0, 48, 64), (96, 0, 32, 64)]),  # the first takes the rest
    ],
)
def test_small_layouts(layout: PanelLayout, boxes: list[tuple[int, int, int, int]]) -> None:
    assert layout.boxes == tuple(Box(*box) for box in boxes)
    assert layout.gutter_area == layout.width * layout.height - covered(layout)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: arrange.rows(1000, 1024, 2), ["width is 1000", "multiple of 64", "1024"]),
        (lambda: arrange.rows(64, 0, 2), ["height is 0", "64"]),
        (lambda: arrange.rows(64, 64, 5), ["5 rows", "64 px", "16 px", "fewer rows"]),
        (lambda: arrange.columns(128, 64, 2, gutter=10), ["gutters of 10 px", "118", "use a gutter of 16 px"]),
        (lambda: arrange.columns(64, 64, 1, step=24), ["64", "24", "change the canvas"]),
        (lambda: arrange.nested(64, 64, []), ["[]", "one positive number"]),
        (lambda: arrange.nested(64, 64, [1, 0]), ["[1, 0]"]),
        (lambda: arrange.nested(64, 64, [1, 1], row_weights=[1]), ["2 rows have 1 weights"]),
        (lambda: arrange.nested(64, 64, [1, 1], row_weights=[1, 0]), ["[1, 0]", "positive"]),
        (lambda: arrange.custom(64, 64, []), ["at least one panel"]),
        (lambda: arrange.custom(64, 64, [Box(0, 0, 65, 64)]), ["65×64 at (0, 0)", "64×64", "enlarge the canvas"]),
        (lambda: arrange.custom(64, 64, [Box(-1, 0, 8, 8)]), ["(-1, 0)", "Move"]),
        (lambda: arrange.custom(64, 64, [Box(0, 0, 0, 8)]), ["0×8", "positive"]),
        (lambda: arrange.custom(64, 64, [Box(0, 0, 9, 9), Box(8, 8, 9, 9)]), ["(8, 8)", "overlap", "Move"]),
        (lambda: arrange.custom(64, 64, [Box(0, 0, 8, 8)] * 2), ["overlap"]),
        (lambda: arrange.rows(64, 128, 2).named(["A"]), ["Panels: 2, names: 1", "commas"]),
        (lambda: arrange.rows(64, 128, 2).named(["A", "A"]), ["differ", "A"]),
        (lambda: arrange.rows(64, 128, 2).named(["A", " "]), ["empty", "Name all"]),
        (lambda: arrange.rows(64, 128, 2).placed([None]), ["2 panels have 1 placements"]),
        (lambda: arrange.rows(64, 128, 2).on_canvas(64, 64), ["64×64", "64×128", "Connect the layout"]),
        (lambda: arrange.columns(64, 64, 4).on_canvas(10, 10), ["whole pixels", "10/64"]),
        (lambda: PanelLayout.from_json({"width": 64}), ["not a layout", "height"]),
        (lambda: PanelLayout.from_json({"width": 64, "height": 64, "panels": [{"name": "A", "box": [1]}]}), ["box"]),
        (lambda: arrange.parse_boxes("A: 0, 0, 1, 1\n0, 1, 1"), ["Line 2", "'0, 1, 1'", "left, top"]),
        (lambda: arrange.parse_boxes("A: 0, 0, 1, 1\n0, 1, 1, 1"), ["2 boxes have 1 names", "all of them or none"]),
        (lambda: arrange.parse_counts("1, two"), ["'1, two'", "'1, 2'"]),
        (lambda: arrange.parse_counts("0"), ["'0'"]),
        (lambda: arrange.parse_counts(" "), ["' '"]),
    ],
)
def test_what_cannot_be_is_refused_with_value_and_remedy(make: Callable[[], object], says: list[str]) -> None:
    with pytest.raises(LayoutError) as refused:
        make()
    for words in says:
        assert words in str(refused.value)


BOXES = st.builds(Box, *[st.integers(0, 4096)] * 2, *[st.integers(1, 4096)] * 2)


@given(st.lists(BOXES, max_size=6), st.booleans())
def test_boxes_are_read_as_they_are_written(boxes: list[Box], with_names: bool) -> None:
    names = [f"IMAGE {number}" for number in range(len(boxes))] if with_names else []
    lines = [f"{box.left}, {box.top}, {box.width}, {box.height}" for box in boxes]
    if with_names:
        lines = [f"[{name}]: {line}" for name, line in zip(names, lines, strict=True)]
    assert arrange.parse_boxes("\n\n".join(lines)) == (tuple(boxes), tuple(names))


@given(st.lists(st.integers(1, 99), min_size=1), st.sampled_from([", ", " ", ","]))
def test_counts_are_read_as_they_are_written(counts: list[int], separator: str) -> None:
    assert arrange.parse_counts(separator.join(map(str, counts))) == tuple(counts)


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        (arrange.columns(128, 64, 2), ("LEFT", "RIGHT")),
        (arrange.rows(64, 128, 2), ("TOP", "BOTTOM")),
        (arrange.grid(64, 64, 2, 2), ("TOP-LEFT", "TOP-RIGHT", "BOTTOM-LEFT", "BOTTOM-RIGHT")),
        (arrange.rows(64, 192, 3), ("SCENE-1", "SCENE-2", "SCENE-3")),
        (arrange.nested(128, 64, [1, 3]), ("SCENE-1", "SCENE-2", "SCENE-3", "SCENE-4")),
        (arrange.custom(64, 64, [Box(32, 0, 32, 64), Box(0, 0, 32, 64)]), ("RIGHT", "LEFT")),
        (arrange.custom(64, 64, [Box(0, 32, 64, 32), Box(0, 0, 64, 32)]), ("BOTTOM", "TOP")),
    ],
)
def test_panels_have_the_names_of_published_captions(layout: PanelLayout, names: tuple[str, ...]) -> None:
    assert layout.names == names


def test_an_enlarged_canvas_has_enlarged_boxes() -> None:
    layout = arrange.rows(64, 128, 2)
    assert layout.on_canvas(128, 256) == (Box(0, 0, 128, 128), Box(0, 128, 128, 128))
    assert layout.on_canvas(32, 64) == (Box(0, 0, 32, 32), Box(0, 32, 32, 32))
    assert layout.on_canvas(64, 128) == layout.boxes


def test_given_panels_are_those_with_a_placement() -> None:
    layout = arrange.rows(64, 128, 2)
    whole = Box(0, 0, 64, 64)
    placed = layout.placed([Placement(64, 64, whole, whole), None])
    assert layout.given == (False, False)
    assert placed.given == (True, False)
    assert placed.unplaced() == layout
    assert PanelLayout.from_json(placed.to_json()) == layout


@pytest.mark.parametrize(("side", "snapped"), [(1, 64), (95, 64), (97, 128), (1000, 1024), (1024, 1024)])
def test_canvas_sides_snap_to_64(side: int, snapped: int) -> None:
    assert arrange.snap_canvas(side) == snapped


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("3, 1,", (0, 2)),
        ("1 3", (0, 2)),
        ("4;2\n2", (1, 3)),
        ("[top-right], 2", (1,)),
        ("1，3、4", (0, 2, 3)),
    ],
)
def test_panels_are_selected_by_number_and_name(text: str, expected: tuple[int, ...]) -> None:
    assert arrange.grid(128, 128, 2, 2).select(text) == expected


def test_names_with_spaces_and_numbers_as_names_are_selected() -> None:
    layout = arrange.columns(192, 64, 3).named(["the left one", "3", "2"])
    assert layout.select("the left one") == (0,)
    assert layout.select("3 1") == (0, 1)


@pytest.mark.parametrize("text", ["5", "0", "-1", "1.5", "²", "LEFT", "TOP-LEFT BOTTOM", "1-3"])
def test_panels_that_do_not_exist_are_not_selected(text: str) -> None:
    with pytest.raises(LayoutError, match=r"There is no panel .*; choose from 1 to 4: TOP-LEFT"):
        arrange.grid(128, 128, 2, 2).select(text)


def test_a_node_that_needs_a_panel_says_so() -> None:
    with pytest.raises(LayoutError, match="No panel is listed; choose from 1 to 4"):
        arrange.grid(128, 128, 2, 2).select_some(" , ")
