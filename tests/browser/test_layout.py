"""Layouts on their nodes, clicked and dragged as a person does, with both renderers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from incontext_lora.tests.browser.editors import drag, input_names, picture, shown_widgets, wait

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface


@pytest.fixture
def layout(either: Interface) -> int:
    """A Panel Layout of three rows of 1024×512, alone on the canvas."""
    node = either.add("InContextLayout")
    either.show(node)
    picture(either)
    return node


def test_the_picture_follows_the_widgets(either: Interface, layout: int) -> None:
    cells = picture(either).locator(".incontext-cell")
    assert [text.split("\n")[:3] for text in cells.all_inner_texts()] == [
        [str(n), f"SCENE-{n}", "1024 × 512"] for n in (1, 2, 3)
    ]
    either.set_value(layout, "kind", "grid")
    either.set_value(layout, "rows", 2)
    wait(either, "() => document.querySelectorAll('.incontext-picture .incontext-cell').length === 4")
    assert "BOTTOM-RIGHT" in cells.nth(3).inner_text()
    either.set_value(layout, "gutter", 7)
    foot = either.page.locator(".incontext-picture .incontext-problem")
    foot.wait_for()
    assert "use a gutter of 0 px" in foot.inner_text()
    either.screenshot(f"layout-problem-{either.renderer}")


def test_only_the_widgets_of_the_kind_are_shown(either: Interface, layout: int) -> None:
    others = ["kind", "width", "height", "panel_step", "names", "prefix"]
    for kind, used in {
        "grid": ["rows", "columns", "gutter"],
        "boxes": ["boxes"],
        "nested rows": ["columns_per_row", "gutter"],
        "rows": ["rows", "gutter"],
    }.items():
        either.set_value(layout, "kind", kind)
        wait(either, f"() => !app.graph.getNodeById({layout})?.widgets.find(w => w.name === '{used[0]}').hidden")
        assert set(shown_widgets(either, layout)) == {*others, *used}
        if either.renderer == "nodes-2.0":
            rows = either.page.locator(".lg-node-widget")
            count = len(others) + len(used) + 1  # the picture
            wait(either, "n => document.querySelectorAll('.lg-node-widget').length === n", count)
            assert rows.count() == count


def test_a_dragged_border_is_what_the_node_sends_and_undo_takes_it_back(either: Interface, layout: int) -> None:
    before = either.inputs(layout)
    border = picture(either).locator(".incontext-border.incontext-y").first
    drag(either, border, 0, 14)
    after = either.inputs(layout)
    assert after["kind"] == "boxes"
    first, second, third = [[int(part) for part in line.split(",")] for line in after["boxes"].splitlines()]
    assert first[3] > 512
    assert first[3] % 16 == 0
    assert first[3] + second[3] == 1024
    assert second[1] == first[3]
    assert third == [0, 1024, 1024, 512]
    either.screenshot(f"layout-dragged-{either.renderer}")
    either.page.keyboard.press("Shift")  # the interface looks for changes at every key: there must be none but the drag
    either.undo()
    wait(either, f"() => app.graph.getNodeById({layout})?.widgets[0].value === 'rows'")
    assert either.inputs(layout) == before


def test_the_kind_that_a_drag_changes_is_said_and_comes_back_with_the_panels(either: Interface, layout: int) -> None:
    border, foot = picture(either).locator(".incontext-border.incontext-y").first, picture(either).get_by_role("status")
    before = either.inputs(layout)
    drag(either, border, 0, 14)
    foot.get_by_text("The kind is now “boxes”: “rows” divides evenly.").wait_for()
    assert "rows" not in shown_widgets(either, layout)
    height = picture(either).locator(".incontext-canvas").bounding_box()
    moved = int(either.inputs(layout)["boxes"].splitlines()[0].split(",")[3]) - 512
    assert height
    drag(either, border, 0, -moved * height["height"] / 1536)
    foot.get_by_text("The panels are even, so the kind is “rows” again.").wait_for()
    assert either.inputs(layout) == {**before, "boxes": either.value(layout, "boxes")}
    wait(either, f"() => !app.graph.getNodeById({layout}).widgets.find(w => w.name === 'rows').hidden")
    either.set_value(layout, "rows", 2)
    foot.get_by_text("1024 × 1536 px, 2 panels").wait_for()


def test_shift_opens_the_gutter(either: Interface, layout: int) -> None:
    drag(either, picture(either).locator(".incontext-border.incontext-y").first, 0, 9, key="Shift")
    sent = either.inputs(layout)
    assert sent["kind"] == "rows"
    assert sent["gutter"] > 0
    assert (1536 - 2 * sent["gutter"]) % 16 == 0


def test_the_edge_changes_the_canvas(either: Interface, layout: int) -> None:
    drag(either, picture(either).locator(".incontext-border.incontext-x").last, -40, 0)
    sent = either.inputs(layout)
    assert (sent["kind"], sent["width"] % 64, sent["height"]) == ("rows", 0, 1536)
    assert sent["width"] < 1024


def test_the_picture_stays_in_place_while_a_border_is_dragged(either: Interface, layout: int) -> None:
    canvas = picture(either).locator(".incontext-canvas")
    edge = picture(either).locator(".incontext-border.incontext-x").last
    before, handle = canvas.bounding_box(), edge.bounding_box()
    assert before
    assert handle
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    mouse = either.page.mouse
    mouse.move(x, y)
    mouse.down()
    for dx in (-10, -30, -20):
        mouse.move(x + dx, y)
        either.settle()
        now, at = canvas.bounding_box(), picture(either).locator(".incontext-border.incontext-x").last.bounding_box()
        assert now
        assert at
        assert (now["x"], now["y"], now["height"]) == pytest.approx((before["x"], before["y"], before["height"]), abs=1)
        step = 64 * before["width"] / 1024  # to which the canvas' sides snap
        assert at["x"] + at["width"] / 2 == pytest.approx(x + dx, abs=step / 2 + 1)
    mouse.up()
    either.settle()
    assert either.inputs(layout)["width"] < 1024


def test_a_panel_dropped_on_another_changes_places_with_it(either: Interface, layout: int) -> None:
    cells = picture(either).locator(".incontext-cell")
    first, last = cells.first.bounding_box(), cells.last.bounding_box()
    assert first
    assert last
    drag(either, cells.first, 0, last["y"] - first["y"])
    assert either.inputs(layout)["boxes"].splitlines() == ["0, 1024, 1024, 512", "0, 512, 1024, 512", "0, 0, 1024, 512"]


def test_stitch_has_the_inputs_of_its_layout(either: Interface) -> None:
    layout = either.add("InContextLayout")
    stitch = either.add("InContextStitchPanels", 500)
    image = either.add("EmptyImage", 500, 700)
    either.connect(layout, "layout", stitch, "layout")
    expected = ["layout", "images", *[f"{kind}_{n}" for kind in ("panel", "mask") for n in (1, 2, 3)]]
    wait(either, f"() => app.graph.getNodeById({stitch}).inputs.every(input => !input.name.endsWith('_9'))")
    assert input_names(either, stitch)[:8] == expected
    either.connect(image, "IMAGE", stitch, "panel_3")
    wait(either, "() => document.querySelectorAll('.incontext-picture .incontext-given').length === 1")
    either.set_value(layout, "rows", 2)
    wait(either, f"() => app.graph.getNodeById({stitch}).inputs.every(input => input.name !== 'mask_3')")
    names = input_names(either, stitch)
    assert "panel_3" in names, "a connected input was taken away"
    either.set_value(layout, "rows", 4)
    wait(either, f"() => app.graph.getNodeById({stitch}).inputs.some(input => input.name === 'mask_4')")
    assert input_names(either, stitch)[2:10] == [f"{kind}_{n}" for kind in ("panel", "mask") for n in (1, 2, 3, 4)]
    sent = either.inputs(stitch)
    assert sent["panel_3"] == [str(image), 0]
    either.show(stitch)
    either.screenshot(f"stitch-{either.renderer}")
    # saved and opened again, every link is where it was
    either.load(json.loads(either.page.evaluate("() => JSON.stringify(app.graph.serialize())")))
    assert either.inputs(stitch) == sent


def test_undo_takes_back_a_link_with_the_inputs_that_it_left_out(either: Interface) -> None:
    task, stitch = either.add("InContextTask"), either.add("InContextStitchPanels", x=500)
    either.set_value(task, "task", "film-storyboard")
    every = either.node(stitch, "node.inputs.map(input => input.name)")
    either.connect(task, "layout", stitch, "layout")
    count = f"() => app.graph.getNodeById({stitch})?.inputs.filter(input => input.name.startsWith('panel_')).length"
    wait(either, f"() => ({count})() === 3")
    either.page.keyboard.press("Shift")  # the interface looks for changes at every key: there must be none but the link
    either.undo()
    wait(either, f"() => ({count})() === 9")
    assert either.node(stitch, "node.inputs.map(input => input.name)") == every
    assert either.node(stitch, "node.inputs.every(input => input.link == null)")


@pytest.mark.parametrize("hidden", ["InContextTask", "InContextStitchPanels"])
def test_a_layout_is_followed_through_the_border_of_a_subgraph(either: Interface, hidden: str) -> None:
    task, stitch = either.add("InContextTask"), either.add("InContextStitchPanels", x=500)
    either.connect(task, "layout", stitch, "layout")
    either.set_value(task, "task", "film-storyboard")
    inside = stitch if hidden == "InContextStitchPanels" else task
    convert = "id => app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)])).subgraph.id"
    either.page.evaluate(convert, inside)
    # the node itself stays where it was, or a copy of it is in the subgraph
    panels = """() => [app.graph, ...app.graph.subgraphs.values()].flatMap(graph => graph.nodes)
        .filter(node => node.type === "InContextStitchPanels")
        .map(node => node.inputs.filter(input => input.name.startsWith("panel_")).length)"""
    wait(either, f"() => JSON.stringify(({panels})()) === '[3]'")


def test_repaint_panels_passes_its_layout_on(either: Interface) -> None:
    task, repaint = either.add("InContextTask"), either.add("InContextRepaintPanels", 500)
    condition = either.add("InContextConditionPanels", 1000)
    either.connect(task, "layout", repaint, "layout")
    either.connect(repaint, "panels_layout", condition, "layout")
    either.show(task)
    wait(either, "() => document.querySelectorAll('.incontext-picture .incontext-given').length === 4")
    wait(either, "() => document.querySelectorAll('.incontext-picture .incontext-generated').length === 2")


def test_a_panel_with_a_mask_is_not_said_to_be_given(either: Interface) -> None:
    task, stitch = either.add("InContextTask"), either.add("InContextStitchPanels", 500)
    image = either.add("LoadImage", 0, 500)
    either.connect(task, "layout", stitch, "layout")
    either.connect(image, "IMAGE", stitch, "panel_1")
    either.connect(image, "IMAGE", stitch, "panel_2")
    either.connect(image, "MASK", stitch, "mask_2")
    either.show(stitch)
    wait(either, "() => document.querySelectorAll('.incontext-picture .incontext-given').length === 1")
    assert either.page.locator(".incontext-picture .incontext-opened").count() == 1
