"""Before and after on the nodes that change a finished picture, with both renderers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from incontext_lora.tests.browser.editors import wait

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface
    from playwright.sync_api import Locator

BLUES = itertools.count(1)
SIZE = {"width": 128, "height": 64}
LOADED = """() => { const pictures = [...document.querySelectorAll('.incontext-compare img')];
    return pictures.length === 2 && pictures.every(each => each.naturalWidth === 128 && each.checkVisibility()) }"""
# the colour in the middle of a picture
COLOUR = """image => { const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
    const context = canvas.getContext('2d'); context.drawImage(image, 0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3) }"""

# the files of the last run are no longer there, as after a restart of ComfyUI
GONE = """id => {
    const [file] = app.nodeOutputs[id].incontext_before;
    app.nodeOutputs[id] = { incontext_before: [file], incontext_after: [{ ...file, filename: "gone.png" }] };
    window.comfyAPI.api.api.dispatchCustomEvent("graphChanged") }"""


@pytest.fixture
def kept(either: Interface) -> int:
    """A Keep Given Panels that paints a red canvas green, with a preview behind it; not run yet."""
    keep, preview = either.add("InContextKeepGiven", 500), either.add("PreviewImage", 900)
    # a run with the same values as before would take the results of that one, and show nothing
    for number, (name, colour) in enumerate((("canvas", 0xFF0000), ("painted", 0x00FF00 + next(BLUES)))):
        image = either.add("EmptyImage", 0, 300 * number)
        for widget, value in {**SIZE, "color": colour}.items():
            either.set_value(image, widget, value)
        either.connect(image, "IMAGE", keep, name)
    mask = either.add("SolidMask", 0, 600)
    for widget, value in SIZE.items():
        either.set_value(mask, widget, value)
    either.connect(mask, "MASK", keep, "mask")
    either.connect(keep, "kept", preview, "images")
    either.show(keep)
    either.page.locator(".incontext-compare").get_by_text("Before and after appear here after a run.").wait_for()
    return keep


REPAINT = """colour => app.graph.nodes.filter(node => node.type === 'EmptyImage').at(-1)
    .widgets.find(widget => widget.name === 'color').value = colour"""
NOTED = """() => Object.values(app.extensionManager.workflow.activeWorkflow.changeTracker.nodeOutputs ?? {})
    .some(output => output.incontext_after)"""


def run_noted(interface: Interface) -> None:
    """
    Run until the tab has noted what was shown.

    Frontend 1.32 notes only what is shown after the answer to Run has come; a run as short as these may be faster.
    """
    for _ in range(10):
        interface.page.evaluate(REPAINT, 0x00FF00 + next(BLUES))
        interface.run()
        if interface.page.evaluate(NOTED):
            return
    pytest.fail("the tab noted nothing of ten runs")


def divider(interface: Interface) -> Locator:
    return interface.page.get_by_role("slider", name="Divider between before and after")


def at(interface: Interface) -> int:
    return int(divider(interface).get_attribute("aria-valuenow") or -1)


def test_a_run_shows_before_and_after(either: Interface, kept: int) -> None:
    sent = either.inputs(kept)
    stored = sorted((either.server.base / "output").rglob("*"))
    outputs = either.run()
    wait(either, LOADED)
    before, after = [
        either.page.locator(f".incontext-compare .incontext-{side}").evaluate(COLOUR) for side in ("before", "after")
    ]
    assert before == [255, 0, 0]
    assert after[:2] == [0, 255]
    assert {file["type"] for files in outputs[str(kept)].values() for file in files} == {"temp"}
    assert sorted((either.server.base / "output").rglob("*")) == stored
    assert either.inputs(kept) == sent
    either.screenshot(f"compare-{either.renderer}")


def test_the_divider_is_dragged_and_moved_by_keys(either: Interface, kept: int) -> None:
    either.run()
    wait(either, LOADED)
    assert at(either) == 50
    position = either.node(kept, "[...node.pos]")
    frame = either.page.locator(".incontext-compare .incontext-frame").bounding_box()
    assert frame
    mouse, keyboard = either.page.mouse, either.page.keyboard
    y = frame["y"] + frame["height"] / 2
    mouse.move(frame["x"] + frame["width"] / 2, y)
    mouse.down()
    mouse.move(frame["x"] + frame["width"] * 0.6, y)
    mouse.move(frame["x"] + frame["width"] * 0.8, y)
    mouse.up()
    assert at(either) == pytest.approx(80, abs=1)
    mouse.move(frame["x"] + frame["width"] * 0.2, y)
    assert at(either) == pytest.approx(80, abs=1), "it was let go"
    shown = either.page.locator(".incontext-compare .incontext-before").evaluate(
        "image => getComputedStyle(image).clipPath"
    )
    assert shown.startswith("inset(0px 20")
    for key, expected in (("Home", 0), ("ArrowRight", 2), ("PageUp", 12), ("ArrowLeft", 10), ("End", 100)):
        keyboard.press(key)
        assert at(either) == expected
    assert either.node(kept, "[...node.pos]") == position, "the node was moved instead"


def test_the_pictures_outlive_an_undo_and_the_end_of_their_files_is_said(either: Interface, kept: int) -> None:
    run_noted(either)
    wait(either, LOADED)
    either.set_value(kept, "feather", 3)
    either.undo()
    wait(either, f"() => app.graph.getNodeById({kept})?.widgets.find(w => w.name === 'feather').value === 0")
    wait(either, LOADED)
    either.page.evaluate(GONE, kept)
    either.page.locator(".incontext-compare").get_by_text("The pictures of the last run are gone.").wait_for()
    assert not either.page.locator(".incontext-compare img").first.is_visible()


def test_a_node_in_a_subgraph_shows_it_too_also_after_another_tab(either: Interface, kept: int) -> None:
    convert = "id => app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)])).node.id"
    subgraph = either.page.evaluate(convert, kept)
    either.settle()
    run_noted(either)
    enter = """id => { const node = (app.graph.rootGraph ?? app.graph).getNodeById(id);
        app.canvas.openSubgraph(node.subgraph, node) }"""
    either.page.evaluate(enter, subgraph)
    wait(either, LOADED)
    either.page.evaluate("() => app.canvas.setGraph(app.graph.rootGraph ?? app.graph)")
    for command in ("Comfy.NewBlankWorkflow", "Workspace.PreviousOpenedWorkflow"):
        either.page.evaluate("name => app.extensionManager.command.execute(name)", command)
        there = command.startswith("Workspace")
        wait(
            either,
            "([id, there]) => !app.configuringGraph && Boolean(app.graph.getNodeById(id)?.subgraph) === there",
            [subgraph, there],
        )
        either.settle()
        either.settle()
    either.page.evaluate(enter, subgraph)
    wait(either, LOADED)
