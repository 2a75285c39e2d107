from __future__ import annotations

from typing import Any

import pytest
from incontext_lora.incontext.errors import LayoutError
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.panels import arrange, layout
from incontext_lora.incontext.panels.box import Box


@pytest.mark.parametrize("name", tasks.RECIPES)
def test_every_published_task(host: Any, name: str) -> None:
    recipe = tasks.recipe(name)
    layout = recipe.layout
    assert host.call("InContextTask", task=name) == (recipe, layout, layout.width, layout.height, len(layout))


@pytest.mark.parametrize(
    ("inputs", "layout"),
    [
        ({"kind": "rows", "rows": 4}, arrange.rows(256, 256, 4)),
        ({"kind": "columns", "columns": 3, "gutter": 32}, arrange.columns(256, 256, 3, gutter=32)),
        ({"kind": "grid", "rows": 2, "columns": 4, "panel_step": "32"}, arrange.grid(256, 256, 2, 4, step=32)),
        ({"kind": "nested rows", "columns_per_row": "1, 3"}, arrange.nested(256, 256, [1, 3])),
        (
            {"kind": "boxes", "boxes": "A: 0, 0, 100, 256\nB: 100, 0, 156, 256"},
            arrange.custom(256, 256, [Box(0, 0, 100, 256), Box(100, 0, 156, 256)], ["A", "B"]),
        ),
        (
            {"kind": "rows", "rows": 2, "names": "[BEFORE], AFTER,"},
            arrange.rows(256, 256, 2).named(["BEFORE", "AFTER"]),
        ),
    ],
)
def test_layouts_of_ones_own(host: Any, inputs: dict[str, Any], layout: layout.PanelLayout) -> None:
    recipe, made, width, height, panels = host.call("InContextLayout", **{"width": 256, "height": 256, **inputs})
    assert made == layout
    assert (width, height, panels) == (layout.width, layout.height, len(layout))
    assert recipe.layout == layout
    assert recipe.markers == tuple(f"[{name}]" for name in layout.names)


def test_a_recipe_keeps_its_captions_and_settings_on_other_panels(host: Any) -> None:
    story = tasks.recipe("film-storyboard")
    recipe, *_ = host.call("InContextLayout", width=512, height=512, rows=2, recipe=story)
    assert (recipe.prefix, recipe.sampling) == ("[MOVIE-SHOTS]", story.sampling)
    assert recipe.markers == ("[TOP]", "[BOTTOM]")
    recipe, *_ = host.call("InContextLayout", width=512, height=512, rows=2, recipe=story, prefix=" [MY-SHOTS]\n")
    assert (recipe.prefix, recipe.sampling) == ("[MY-SHOTS]", story.sampling)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"kind": "columns", "columns": 16, "gutter": 64}, "16 columns with gutters of 64 px do not fit into 1024 px"),
        ({"width": 1000}, "width is 1000.*1024"),
        ({"kind": "boxes"}, "there are no boxes"),
        ({"kind": "boxes", "boxes": "1, 2, 3"}, "Line 1"),
        ({"kind": "nested rows", "columns_per_row": "a"}, "'a'"),
        ({"names": "A, B"}, "Panels: 3, names: 2"),
    ],
)
def test_what_cannot_be_is_refused(host: Any, inputs: dict[str, Any], says: str) -> None:
    with pytest.raises(LayoutError, match=says):
        host.call("InContextLayout", **inputs)
