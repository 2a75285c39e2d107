"""Layout and caption on their nodes, clicked and typed in as a person does, with both renderers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface
    from playwright.sync_api import Locator

LONG = "an old lighthouse keeper in a yellow coat climbs the spiral stairs with a brass lamp in his hand, " * 4
STORY = (
    "[MOVIE-SHOTS] A day at the sea. [SCENE-1] <Leo> wakes up in a tent. [SCENE-2] <Leo> dives \\(deep\\). "
    "[SCENE-3] <Leo> sleeps."
)


def wait(interface: Interface, condition: str, argument: Any = None) -> None:
    """Until a JavaScript condition holds; the page's own clock decides when it has been too long."""
    interface.page.wait_for_function(condition, arg=argument)


def picture(interface: Interface) -> Locator:
    found = interface.page.locator(".incontext-picture")
    found.locator(".incontext-cell").first.wait_for()
    return found


def drag(interface: Interface, start: Locator, dx: float, dy: float, key: str = "") -> None:
    """Press on the middle of something, move, release."""
    box = start.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse, keyboard = interface.page.mouse, interface.page.keyboard
    mouse.move(x, y)
    mouse.down()
    if key:
        keyboard.down(key)
    mouse.move(x + dx / 2, y + dy / 2)
    mouse.move(x + dx, y + dy)
    mouse.up()
    if key:
        keyboard.up(key)
    interface.settle()


def shown_widgets(interface: Interface, node: int) -> list[str]:
    return interface.node(node, "node.widgets.filter(widget => !widget.hidden).map(widget => widget.name)")


def input_names(interface: Interface, node: int) -> list[str]:
    return interface.node(node, "node.inputs.map(input => input.name)")


# --- layout -----------------------------------------------------------------------------------------------------------


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
    others = ["kind", "width", "height", "panel_step", "names", "prefix", "layout_picture"]
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
            wait(either, "n => document.querySelectorAll('.lg-node-widget').length === n", len(others) + len(used))
            assert rows.count() == len(others) + len(used)


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


# --- caption ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def caption(either: Interface) -> int:
    """A Joint Caption of the film storyboard, three panels."""
    task = either.add("InContextTask", 500)
    node = either.add("InContextJointCaption")
    either.connect(task, "recipe", node, "recipe")
    either.show(node)
    field(either, "[SCENE-3]").wait_for()
    return node


def field(interface: Interface, title: str) -> Locator:
    return interface.page.locator(".incontext-caption").get_by_label(title, exact=True)


def test_a_field_a_panel_and_the_caption_as_it_will_be_sent(either: Interface, caption: int) -> None:
    fields = either.page.locator(".incontext-caption textarea")
    assert fields.count() == 4
    field(either, "Summary").fill("A day at the sea")
    for number, text in enumerate(("Leo wakes", "Leo swims", "Leo sleeps"), 1):
        field(either, f"[SCENE-{number}]").fill(text)
    either.set_value(caption, "names", "Leo")
    line = "[MOVIE-SHOTS] A day at the sea [SCENE-1] <Leo> wakes [SCENE-2] <Leo> swims [SCENE-3] <Leo> sleeps"
    wait(either, "line => document.querySelector('.incontext-line').textContent === line", line)
    marked = either.page.locator(".incontext-line mark").all_inner_texts()
    assert marked == ["[MOVIE-SHOTS]", "[SCENE-1]", "[SCENE-2]", "[SCENE-3]"]
    assert either.page.locator(".incontext-notes li").count() == 0
    sent = either.inputs(caption)
    assert [sent[f"panel_{n}"] for n in (1, 2, 3, 4)] == ["Leo wakes", "Leo swims", "Leo sleeps", ""]
    either.screenshot(f"caption-{either.renderer}")


def test_what_passes_77_tokens_is_said_where_it_is_written(either: Interface, caption: int) -> None:
    field(either, "[SCENE-1]").fill(LONG)
    over = either.page.locator(".incontext-meter.incontext-over")
    over.wait_for()
    assert over.count() == 1
    assert "CLIP-L" in over.inner_text()
    assert "/ 77" in over.inner_text()
    notes = either.page.locator(".incontext-notes").inner_text()
    assert "CLIP-L reads 77 tokens as one piece" in notes
    assert "No text follows [SCENE-2], [SCENE-3]" in notes
    assert either.page.locator(".incontext-line .incontext-limit").all_inner_texts() == ["77"]
    either.screenshot(f"caption-long-{either.renderer}")


def test_a_whole_caption_falls_into_its_fields(either: Interface, caption: int) -> None:
    paste = """(area, text) => { const data = new DataTransfer(); data.setData("text/plain", text);
        area.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })) }"""
    field(either, "[SCENE-2]").evaluate(paste, STORY)
    wait(either, f"() => app.graph.getNodeById({caption})?.widgets[3].value.includes('sleeps')")
    sent = either.inputs(caption)
    assert sent["summary"] == "A day at the sea."
    assert [sent[f"panel_{n}"] for n in (1, 2, 3)] == [
        "<Leo> wakes up in a tent.",
        "<Leo> dives \\(deep\\).",
        "<Leo> sleeps.",
    ]
    assert field(either, "[SCENE-1]").input_value() == "<Leo> wakes up in a tent."
    either.undo()
    wait(either, f"() => app.graph.getNodeById({caption})?.widgets[0].value === ''")


def test_plain_fields_can_be_connected(either: Interface, caption: int) -> None:
    assert "panel_1" not in input_names(either, caption)
    either.page.locator(".incontext-plain").click()
    wait(either, f"() => app.graph.getNodeById({caption}).inputs.some(input => input.name === 'panel_3')")
    assert "panel_4" not in input_names(either, caption)
    text = either.add("PrimitiveString", 500, 400)
    either.connect(text, "STRING", caption, "panel_2")
    either.page.locator(".incontext-plain").click()
    wait(either, f"() => app.graph.getNodeById({caption}).inputs.every(input => input.name !== 'panel_3')")
    assert "panel_2" in input_names(either, caption)
    assert field(either, "[SCENE-2]").is_disabled()
    assert either.inputs(caption)["panel_2"] == [str(text), 0]


# --- quickstart -------------------------------------------------------------------------------------------------------


def test_quickstart_is_written_run_and_still_there_after_a_reload(either: Interface) -> None:
    either.load_template("quickstart")
    caption = either.node_id("InContextJointCaption")
    either.show(caption)
    written = f"a cross, {either.renderer}"  # the page keeps what it had before, too
    field(either, "[SCENE-2]").fill(written)
    either.set_value(either.node_id("KSampler"), "steps", 4)
    outputs = either.run()
    counts = sorted(len(output["images"]) for output in outputs.values() if "images" in output)
    assert counts == [1, 3], "the whole set and its three panels"
    either.show(either.node_id("InContextSplitPanels"))
    either.screenshot(f"quickstart-{either.renderer}")
    either.page.locator("#graph-canvas").click(position={"x": 700, "y": 900})
    either.page.wait_for_function(
        "written => [localStorage, sessionStorage].some(kept => Object.values(kept).some(text => text.includes(written)))",
        arg=written,
    )
    either.open()
    wait(either, "() => app.graph.nodes.some(node => node.type === 'InContextJointCaption')")
    caption = either.node_id("InContextJointCaption")
    assert either.value(caption, "panel_2") == written
    either.show(caption)
    field(either, "[SCENE-2]").wait_for()
    assert field(either, "[SCENE-2]").input_value() == written
