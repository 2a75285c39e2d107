"""The joint caption on its node, typed in as a person does, with both renderers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from incontext_lora.tests.browser.editors import PASTE, STORY, field, input_names, shown_widgets, wait

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

LONG = "an old lighthouse keeper in a yellow coat climbs the spiral stairs with a brass lamp in his hand, " * 4


# an undo has put these texts into the node, and is done
RESTORED = """([id, texts]) => !app.extensionManager.workflow.activeWorkflow.changeTracker._restoringState
    && JSON.stringify(texts) === JSON.stringify(["summary", "panel_1", "panel_2"].map(
        name => app.graph.getNodeById(id)?.widgets.find(widget => widget.name === name).value))"""


@pytest.fixture
def caption(either: Interface) -> int:
    """A Joint Caption of the film storyboard, three panels."""
    task = either.add("InContextTask", 500)
    node = either.add("InContextJointCaption")
    either.connect(task, "recipe", node, "recipe")
    either.show(node)
    field(either, "[SCENE-3]").wait_for()
    return node


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
    assert "CLIP-L reads 77 tokens at a time" in notes
    assert "No text follows [SCENE-2], [SCENE-3]" in notes
    assert either.page.locator(".incontext-line .incontext-limit").all_inner_texts() == ["77"]
    either.screenshot(f"caption-long-{either.renderer}")


def test_a_whole_caption_falls_into_its_fields(either: Interface, caption: int) -> None:
    field(either, "[SCENE-2]").evaluate(PASTE, STORY)
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
    assert shown_widgets(either, caption) == ["names", "escape_parentheses"]
    either.page.locator(".incontext-plain").click()
    wait(either, f"() => !app.graph.getNodeById({caption}).widgets.find(widget => widget.name === 'panel_3').hidden")
    fields = ["summary", "panel_1", "panel_2", "panel_3"]
    assert shown_widgets(either, caption) == [*fields, "names", "escape_parentheses"]
    assert "panel_4" not in input_names(either, caption)
    text = either.add("PrimitiveString", 500, 400)
    either.connect(text, "STRING", caption, "panel_2")
    either.page.locator(".incontext-plain").click()
    wait(either, f"() => app.graph.getNodeById({caption}).widgets.find(widget => widget.name === 'panel_3').hidden")
    assert shown_widgets(either, caption) == ["panel_2", "names", "escape_parentheses", "wildcard_seed"]
    assert field(either, "[SCENE-2]").is_disabled()
    assert either.inputs(caption)["panel_2"] == [str(text), 0]


def test_a_refresh_leaves_the_caption_on_the_screen(either: Interface) -> None:
    lora, caption = either.add("InContextLoadLora", 560), either.add("InContextJointCaption")
    either.connect(lora, "recipe", caption, "recipe")
    either.set_value(lora, "lora_name", "incontext-demo.safetensors")
    either.show(caption)
    area = either.page.locator(".incontext-caption textarea").nth(1)
    area.fill("a cross")
    line = either.page.locator(".incontext-line")
    line.get_by_text("a cross").wait_for()
    written = line.inner_text()
    with either.page.expect_response(lambda response: "lora_recipe" in response.url):
        either.page.evaluate("() => app.refreshComboInNodes()")
    either.settle()
    assert line.inner_text() == written
    assert area.input_value() == "a cross"
    assert either.page.locator(".incontext-meter").count() > 0


def test_marks_stand_where_they_are_among_joined_emoji(either: Interface, caption: int) -> None:
    field(either, "Summary").fill("👩‍🚀👨‍👩‍👧 and 🇫🇷")
    field(either, "[SCENE-1]").fill("🦊 🧑🏽‍🤝‍🧑🏿")
    wait(either, "() => document.querySelector('.incontext-line').textContent.includes('🧑🏿')")
    assert either.page.locator(".incontext-line mark").all_inner_texts() == [
        "[MOVIE-SHOTS]",
        *(f"[SCENE-{n}]" for n in (1, 2, 3)),
    ]
    assert "👩‍🚀👨‍👩‍👧 and 🇫🇷" in either.page.locator(".incontext-line").inner_text()


def test_undo_takes_back_a_pasted_caption_from_within_a_field(either: Interface, caption: int) -> None:
    field(either, "[SCENE-2]").click()
    field(either, "[SCENE-2]").evaluate(PASTE, STORY)
    wait(either, f"() => app.graph.getNodeById({caption}).widgets[3].value.includes('sleeps')")
    either.settle()
    either.settle()
    either.settle()
    either.page.keyboard.press("Control+z")
    wait(either, f"() => app.graph.getNodeById({caption})?.widgets.slice(0, 4).every(widget => widget.value === '')")
    assert field(either, "[SCENE-2]").input_value() == ""
    assert either.node(caption, "node.inputs.find(input => input.name === 'recipe').link != null")


def test_every_field_is_one_step_of_undo(either: Interface, caption: int) -> None:
    field(either, "Summary").click()
    keyboard = either.page.keyboard
    for text in ("a day", "dawn", "noon"):
        keyboard.type(text)
        keyboard.type("!")
        keyboard.press("Tab")
    either.settle()
    assert [either.inputs(caption)[name] for name in ("summary", "panel_1", "panel_2")] == ["a day!", "dawn!", "noon!"]
    for expected in (["a day!", "dawn!", ""], ["a day!", "", ""], ["", "", ""]):
        either.undo()
        wait(either, RESTORED, [caption, expected])


def test_a_field_takes_back_what_was_typed_before_the_workflow_does(either: Interface, caption: int) -> None:
    area = field(either, "[SCENE-1]")
    area.click()
    either.page.keyboard.type("dawn")
    either.page.keyboard.press("Control+z")
    wait(either, "() => document.activeElement.value === ''")
    assert either.inputs(caption)["panel_1"] == ""
    assert either.node(caption, "node.inputs.find(input => input.name === 'recipe').link != null"), "the workflow undid"
    either.page.keyboard.press("Control+y")
    wait(either, "() => document.activeElement.value === 'dawn'")
    assert either.inputs(caption)["panel_1"] == "dawn"


def test_a_wildcard_is_drawn_once_for_all_panels(either: Interface, caption: int) -> None:
    assert "wildcard_seed" not in shown_widgets(either, caption)
    field(either, "[SCENE-1]").fill("a {red|blue} kite")
    field(either, "[SCENE-3]").fill("the {red|blue} kite")
    wait(
        either, "() => /a (red|blue) kite .* the \\1 kite$/.test(document.querySelector('.incontext-line').textContent)"
    )
    assert "wildcard_seed" in shown_widgets(either, caption)
    number = either.add("PrimitiveInt", 560, 600)
    either.connect(number, "INT", caption, "wildcard_seed")
    wait(either, "() => document.querySelector('.incontext-line').textContent.includes('a {red|blue} kite')")


def test_a_wildcard_without_its_closing_brace_is_said_at_its_field_and_sent_as_written(
    either: Interface, caption: int
) -> None:
    hints = either.page.locator(".incontext-caption .incontext-hint:visible")
    field(either, "[SCENE-2]").fill("a {red|blue kite")
    hints.first.wait_for()
    assert hints.all_inner_texts() == ["“{red|blue kite” is sent as written: the wildcard has no closing brace “}”."]
    (typed, said) = field(either, "[SCENE-2]").bounding_box(), hints.bounding_box()
    assert typed
    assert said
    assert typed["x"] == said["x"]
    assert 0 <= said["y"] - (typed["y"] + typed["height"]) < 4, "the hint is at its field"
    assert either.inputs(caption)["panel_2"] == "a {red|blue kite"
    wait(either, "() => document.querySelector('.incontext-line').textContent.includes('a {red|blue kite')")
    assert "wildcard_seed" not in shown_widgets(either, caption)
    either.screenshot(f"caption-unclosed-{either.renderer}")
    field(either, "[SCENE-2]").fill("a {red|blue} kite")
    hints.first.wait_for(state="detached")
    assert "wildcard_seed" in shown_widgets(either, caption)


# of a text, as it is shown, against white
CONTRAST = """element => {
    const channels = getComputedStyle(element).color.match(/[\\d.]+/g).slice(0, 3).map(each => each / 255);
    const linear = channels.map(each => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05) }"""


def test_warnings_are_legible_in_the_light_theme(either: Interface, caption: int) -> None:
    """By the usual measure: a contrast of 4.5."""
    either.setting("Comfy.ColorPalette", "light")
    try:
        field(either, "[SCENE-1]").fill("{a|b " + LONG)
        wait(either, "() => !document.body.classList.contains('dark-theme')")
        for seen in (".incontext-notes li", ".incontext-hint:visible", ".incontext-over .incontext-count"):
            text = either.page.locator(f".incontext-caption {seen}").first
            text.wait_for()
            assert text.evaluate(CONTRAST) >= 4.5, seen
        either.screenshot(f"caption-light-{either.renderer}")
    finally:
        either.setting("Comfy.ColorPalette", "dark")


@pytest.mark.parametrize("plain", [False, True])
def test_a_field_can_be_promoted_to_the_face_of_its_subgraph(either: Interface, caption: int, plain: bool) -> None:
    """As the menu of ComfyUI does it: by a proxy in older frontends, by a link in newer ones."""
    if plain:
        either.page.locator(".incontext-plain").click()
    either.page.evaluate(
        "id => { app.canvas.selectItems([app.graph.getNodeById(id)]); "
        "return app.extensionManager.command.execute('Comfy.Graph.ConvertToSubgraph') }",
        caption,
    )
    either.settle()
    promote = """() => {
        const face = app.graph.nodes.find(node => node.subgraph);
        const inner = face.subgraph.nodes.find(node => node.type === "InContextJointCaption");
        const widget = inner.widgets.find(widget => widget.name === "panel_1");
        app.canvas.emitBeforeChange();
        const slot = inner.getSlotFromWidget(widget);
        if (Object.getOwnPropertyDescriptor(face.properties, "proxyWidgets")?.set)
            face.properties.proxyWidgets = [[String(inner.id), "panel_1"]];
        else face.subgraph.addInput("panel_1", "STRING").connect(slot, inner);
        app.canvas.emitAfterChange();
        return face.id }"""
    face = either.page.evaluate(promote)
    either.settle()
    either.show(face)
    shown = "node.widgets.find(widget => widget.name.endsWith('panel_1'))"
    wait(either, f"() => (node => {{ const one = {shown}; return one && !one.hidden }})(app.graph.getNodeById({face}))")
    if either.renderer == "nodes-2.0":
        area = either.page.locator(f"[data-node-id='{face}'] textarea")
    else:
        area = either.page.locator("textarea.comfy-multiline-input:visible")
    area.first.fill("dawn")
    assert sent_text(either) == "dawn"
    open_inside(either, face)
    others = """() => app.canvas.graph.nodes.find(node => node.type === "InContextJointCaption").widgets
        .filter(widget => !widget.hidden && /^panel_[2-9]$/.test(widget.name)).length"""
    expected = 2 if plain else 0
    wait(either, f"() => ({others})() === {expected}")
    if either.renderer == "nodes-2.0":
        # the promoted field may be seen inside too; the other fields only where plain fields were asked for
        fields = either.page.locator(".lg-node-widget textarea:not([data-field])")
        assert fields.count() <= 1 + expected + plain
    if plain:
        return
    wait(either, "() => document.querySelector('.incontext-caption [data-field=panel_1]')?.value === 'dawn'")
    either.page.locator(".incontext-caption [data-field=panel_1]").fill("noon")
    assert sent_text(either) == "noon"
    either.page.evaluate("() => app.canvas.setGraph(app.graph.rootGraph ?? app.graph)")
    either.settle()
    either.show(face)
    area.first.wait_for()
    assert area.first.input_value() == "noon"


def sent_text(interface: Interface) -> str:
    """The first panel's text in the prompt that the page would send now."""
    prompt = interface.page.evaluate("async () => (await app.graphToPrompt()).output")
    (sent,) = [node["inputs"] for node in prompt.values() if node["class_type"] == "InContextJointCaption"]
    return sent["panel_1"]


def open_inside(interface: Interface, face: int) -> None:
    """Go into a subgraph, as a double click on the node that stands for it does."""
    script = "id => { const node = app.graph.getNodeById(id); app.canvas.openSubgraph(node.subgraph, node) }"
    interface.page.evaluate(script, face)
    interface.settle()


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
