"""Layout, stitching and caption together: what one node says, the others show, with both renderers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from incontext_lora.tests.browser.editors import drag, field, input_names, wait

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface


@pytest.fixture
def set_of_panels(either: Interface) -> tuple[int, int, int]:
    """A Panel Layout, its Stitch Panels and its Joint Caption."""
    layout, stitch = either.add("InContextLayout", 1100), either.add("InContextStitchPanels", 560)
    caption = either.add("InContextJointCaption")
    either.connect(layout, "layout", stitch, "layout")
    either.connect(layout, "recipe", caption, "recipe")
    either.show(caption)
    field(either, "[SCENE-3]").wait_for()
    return layout, stitch, caption


def test_after_an_undo_the_editors_belong_to_the_nodes_that_came_back(
    either: Interface, set_of_panels: tuple[int, int, int]
) -> None:
    layout, _, caption = set_of_panels
    either.set_value(layout, "rows", 4)
    field(either, "[SCENE-4]").wait_for()
    either.undo()
    wait(either, f"() => app.graph.getNodeById({layout})?.widgets.find(widget => widget.name === 'rows').value === 3")
    field(either, "[SCENE-4]").wait_for(state="detached")
    wait(
        either,
        """() => app.graph.nodes.every(node => node.widgets.every(
            widget => !widget.element?.matches(".incontext-lora") || widget.element.isConnected))""",
    )
    field(either, "Summary").fill("A day at the sea")
    assert either.inputs(caption)["summary"] == "A day at the sea"
    border = either.page.locator(".incontext-picture.incontext-editable .incontext-border.incontext-y").first
    drag(either, border, 0, 14)
    assert either.inputs(layout)["kind"] == "boxes"
    assert either.inputs(layout)["boxes"]


def test_texts_of_panels_that_go_are_kept_and_come_back(either: Interface, set_of_panels: tuple[int, int, int]) -> None:
    layout, _, caption = set_of_panels
    either.set_value(layout, "rows", 4)
    field(either, "[SCENE-4]").fill("Leo sleeps")
    either.set_value(layout, "rows", 2)
    field(either, "[SCENE-4]").wait_for(state="detached")
    notes = either.page.locator(".incontext-notes")
    notes.get_by_text("1 text is not sent: the layout has 2 panels.").wait_for()
    wait(either, "() => !document.querySelector('.incontext-line').textContent.includes('Leo sleeps')")
    either.set_value(layout, "rows", 4)
    field(either, "[SCENE-4]").wait_for()
    assert field(either, "[SCENE-4]").input_value() == "Leo sleeps"
    assert either.inputs(caption)["panel_4"] == "Leo sleeps"


def test_sixteen_panels_have_fields_and_inputs(either: Interface, set_of_panels: tuple[int, int, int]) -> None:
    layout, stitch, caption = set_of_panels
    image = either.add("EmptyImage", 560, 900)
    either.set_value(layout, "kind", "grid")
    either.set_value(layout, "rows", 4)
    either.set_value(layout, "columns", 4)
    last = field(either, "[SCENE-16]")
    last.wait_for()
    for number, text in ((1, "one"), (10, "ten"), (16, "sixteen\nof them")):
        field(either, f"[SCENE-{number}]").fill(text)
    sent = either.inputs(caption)
    assert (sent["panel_1"], sent["more_panels"]) == ("one", "ten" + "\n" * 6 + "sixteen of them")
    wait(either, "() => document.querySelector('.incontext-line').textContent.endsWith('[SCENE-16] sixteen of them')")
    assert "panel_9" in input_names(either, stitch)
    assert "panel_10" not in input_names(either, stitch)
    either.connect(image, "IMAGE", stitch, "panel_9")
    either.connect(image, "IMAGE", stitch, "panel_10")
    either.connect(image, "IMAGE", stitch, "panel_11")
    names = input_names(either, stitch)
    assert "panel_12" in names
    assert "panel_13" not in names
    wait(either, "() => document.querySelectorAll('.incontext-picture .incontext-given').length === 3")
    sent = either.inputs(stitch)
    assert [sent[f"panel_{n}"] for n in (9, 10, 11)] == [[str(image), 0]] * 3
    # saved and opened again, every link and every text is where it was
    either.load(json.loads(either.page.evaluate("() => JSON.stringify(app.graph.serialize())")))
    assert either.inputs(stitch) == sent
    either.show(caption)
    last.wait_for()
    assert last.input_value() == "sixteen of them"


def test_an_impossible_layout_keeps_the_last_one_everywhere(
    either: Interface, set_of_panels: tuple[int, int, int]
) -> None:
    layout, stitch, _ = set_of_panels
    field(either, "[SCENE-1]").fill("Leo wakes")
    either.set_value(layout, "gutter", 7)
    problems = either.page.locator(".incontext-picture .incontext-problem")
    problems.get_by_text("use a gutter of 8 px").wait_for()
    problems.get_by_text("“Panel Layout” has an error. This is its last valid layout.").wait_for()
    either.page.locator(".incontext-notes").get_by_text("has an error").wait_for()
    assert either.page.locator(".incontext-picture .incontext-cell").count() == 6
    assert field(either, "[SCENE-1]").input_value() == "Leo wakes"
    assert "panel_4" not in input_names(either, stitch)
    either.set_value(layout, "gutter", 0)
    wait(either, "() => !document.querySelector('.incontext-problem')?.textContent.includes('error')")


def test_a_muted_or_bypassed_layout_is_still_shown_and_said_to_be_so(
    either: Interface, set_of_panels: tuple[int, int, int]
) -> None:
    layout, *_ = set_of_panels
    notes = either.page.locator(".incontext-notes")
    for mode, reason in ((2, "muted"), (4, "bypassed")):
        either.page.evaluate(
            """([id, mode]) => { app.canvas.emitBeforeChange(); app.graph.getNodeById(id).mode = mode;
                app.canvas.emitAfterChange() }""",
            [layout, mode],
        )
        notes.get_by_text(f"“Panel Layout” is {reason}, so it sends nothing.").wait_for()
        assert field(either, "[SCENE-3]").count() == 1
