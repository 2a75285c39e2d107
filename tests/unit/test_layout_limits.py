"""Layouts and recipes from strangers: how large they may be, and that judging them takes no time."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from incontext_lora.incontext.errors import InContextError, LayoutError, RecipeError
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.panels import arrange
from incontext_lora.incontext.panels.box import Box
from incontext_lora.incontext.panels.layout import LARGEST_AREA, LONGEST_SIDE, MOST_PANELS, PanelLayout

SOON = 1.0  # seconds; each case takes a few milliseconds


def described(count: int) -> dict[str, Any]:
    """A layout of so many panels, each 1×1, in a row."""
    panels = [{"name": f"P{n}", "box": [n % 16384, n // 16384, 1, 1]} for n in range(count)]
    return {"width": 16384, "height": 64, "panels": panels}


@pytest.mark.parametrize("count", [MOST_PANELS + 1, 8_000, 60_000])
def test_many_panels_are_refused_at_once(count: int) -> None:
    data = json.loads(json.dumps(described(count)))
    began = time.perf_counter()
    with pytest.raises(LayoutError, match=f"has {count} panels; at most {MOST_PANELS}"):
        Recipe.from_json({"layout": data})
    assert time.perf_counter() - began < SOON


def test_as_many_panels_as_are_possible() -> None:
    assert len(PanelLayout.from_json(described(MOST_PANELS))) == MOST_PANELS


@pytest.mark.parametrize(
    ("width", "height"),
    [(10**9, 64), (64, 10**9), (LONGEST_SIDE + 64, 64), (16384, 16384), (1e400, 64), (float("nan"), 64), (64, -1e400)],
)
def test_a_canvas_that_no_memory_holds_is_refused(width: float, height: float) -> None:
    with pytest.raises(LayoutError):
        PanelLayout.from_json({"width": width, "height": height, "panels": [{"name": "A", "box": [0, 0, 64, 64]}]})


def test_the_largest_canvas() -> None:
    whole = PanelLayout(8192, 8192, (Box(0, 0, 8192, 8192),))
    assert whole.width * whole.height == LARGEST_AREA


@pytest.mark.parametrize("edge", [1e400, float("nan"), "0", True, None, [0], 0.5, 10**30])
def test_edges_that_are_not_whole_numbers_are_refused(edge: Any) -> None:
    with pytest.raises(LayoutError):
        PanelLayout.from_json({"width": 64, "height": 64, "panels": [{"name": "A", "box": [edge, 0, 64, 64]}]})


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": {"cfg": 1e400}},
        {"sampling": {"guidance": float("nan")}},
        {"sampling": {"steps": 10**9}},
        {"sampling": {"steps": True}},
        {"references": {"share": float("nan")}},
        {"references": {"panels": [1e400]}},
        {"references": {"panels": [10**9]}},
        {"name": 5},
        {"note": "x" * 20_001},
        {"prefix": "a\0b"},
        {"opening": "\ud800"},
        {"markers": ["[A]", "x" * 129]},
        {"lineage": ["a"] * 1_001},
        {"lineage": [None]},
    ],
)
def test_impossible_values_of_a_recipe_are_refused_in_a_short_message(changes: dict[str, Any]) -> None:
    data = Recipe("r", arrange.rows(64, 128, 2)).to_json() | changes
    with pytest.raises(RecipeError) as refused:
        Recipe.from_json(data)
    assert len(str(refused.value)) < 400
    str(refused.value).encode()


@pytest.mark.parametrize(
    "text",
    ["1, " * 350_000, "0,0,64,64\n" * 100_000, ":" * 1_000_000, "9" * 1_000_000, "[" * 1_000_000, "a, " * 350_000],
)
def test_a_megabyte_in_a_widget_is_judged_at_once(text: str) -> None:
    began = time.perf_counter()
    for kind, fields in (
        ("boxes", {"boxes": text}),
        ("nested rows", {"columns_per_row": text}),
        ("rows", {"names": text}),
    ):
        values = {"columns_per_row": "1", "boxes": "0,0,64,64", **fields}
        with pytest.raises(LayoutError) as refused:
            arrange.panel_layout(kind, 1024, 1024, 2, 2, gutter=0, panel_step="16", **values)
        assert len(str(refused.value)) < 500
    assert time.perf_counter() - began < SOON


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "spiral"},
        {"panel_step": "0"},
        {"panel_step": "wide"},
        {"rows": 10**9},
        {"kind": "grid", "rows": 10**9},
        {"kind": "columns", "columns": 10**9},
        {"width": 10**9},
        {"gutter": -64},
    ],
)
def test_linked_values_outside_the_widgets_ranges_are_refused(values: dict[str, Any]) -> None:
    usual = {"kind": "rows", "width": 1024, "height": 1024, "rows": 2, "columns": 2, "columns_per_row": "1, 2"}
    usual |= {"gutter": 0, "panel_step": "16", "boxes": ""}
    with pytest.raises(InContextError):
        arrange.panel_layout(**{**usual, **values})


def test_the_sweep_finds_an_overlap_exactly_where_there_is_one() -> None:
    rng = random.Random(0)
    found = 0
    for _ in range(2_000):
        boxes = tuple(
            Box(rng.randint(0, 20), rng.randint(0, 20), rng.randint(1, 8), rng.randint(1, 8))
            for _ in range(rng.randint(1, 8))
        )
        expected = any(boxes[i].overlaps(boxes[j]) for i in range(len(boxes)) for j in range(i))
        if expected:
            found += 1
            with pytest.raises(LayoutError, match="overlap"):
                PanelLayout(64, 64, boxes)
        else:
            PanelLayout(64, 64, boxes)
    assert 400 < found < 1_900
