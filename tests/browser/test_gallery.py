"""The gallery of sets: what a run made is there at once, and becomes a reference, a repaint, or training data."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface
    from playwright.sync_api import Locator

TAB = "incontext-lora-sets"


def open_sets(interface: Interface) -> Locator:
    """Open the tab as its command does; returns the gallery."""
    interface.page.evaluate("() => app.extensionManager.command.execute('InContextLora.ShowSets')")
    gallery = interface.page.locator(".incontext-gallery")
    gallery.wait_for()
    return gallery


@pytest.fixture
def gallery(either: Interface) -> Any:
    """The open tab, with at least one set of quickstart in it."""
    if not list((either.server.base / "output").rglob("set_*.png")):
        either.load_template("quickstart")
        either.run()
        either.clear()
    gallery = open_sets(either)
    gallery.locator(".incontext-set").first.wait_for()
    yield gallery
    either.page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('incontext-lora-sets')")
    gallery.wait_for(state="detached")
    folder = either.server.base / "input" / "browser-sets"
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def toast(interface: Interface, text: str) -> None:
    interface.page.locator(".p-toast-message").get_by_text(text).first.wait_for()
    interface.page.evaluate("() => app.extensionManager.toast.removeAll()")


def pixels(path: Path | bytes) -> np.ndarray:
    with Image.open(io.BytesIO(path) if isinstance(path, bytes) else path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_a_run_is_there_panel_by_panel_at_once(either: Interface) -> None:
    gallery = open_sets(either)
    either.load_template("quickstart")
    sampler = either.node_id("KSampler")
    seed = 4242 + either.page.evaluate("() => Number(Boolean(LiteGraph.vueNodesMode))")
    either.set_value(sampler, "seed", seed)
    either.run()
    card = gallery.locator(".incontext-set", has_text=f"seed {seed}")
    card.wait_for()
    assert card.count() == 1, "the canvas and its panels are one set"
    assert card.locator("img").count() == 3
    either.page.wait_for_function(
        """() => [...document.querySelectorAll('.incontext-set:first-child img')].every(image => image.naturalWidth > 0)"""
    )
    assert card.locator("mark").all_inner_texts()[-3:] == ["[SCENE-1]", "[SCENE-2]", "[SCENE-3]"]
    assert card.locator(".incontext-lora").inner_text() == "incontext-demo"
    assert card.locator(".incontext-new").is_visible()
    either.screenshot(f"gallery-{either.renderer}")
    gallery.locator(".incontext-search").fill(f"{seed} demo")
    either.page.wait_for_function("() => document.querySelectorAll('.incontext-set').length === 1")
    gallery.locator(".incontext-search").fill("😀" * 50_000)  # as a long text that is pasted there by mistake
    gallery.locator(".incontext-status", has_text="No set contains all of these words.").wait_for()
    gallery.locator(".incontext-search").fill("")
    either.page.evaluate(f"() => app.extensionManager.sidebarTab.toggleSidebarTab('{TAB}')")


def test_a_panel_becomes_a_reference(either: Interface, gallery: Locator) -> None:
    page = either.page
    use = gallery.locator(".incontext-set").first.get_by_role("button", name="Use as reference", exact=True)
    # with nothing selected: a node in the middle of the view
    use.first.click()
    toast(either, "in the middle of the view")
    loader = either.node_id("LoadImage")
    name = either.value(loader, "image")
    _wait_until_shown(either, loader, name)
    assert (either.server.base / "input" / name).is_file()
    either.undo()
    page.wait_for_function("() => app.graph.nodes.length === 0")
    # into the selected Load Image
    other = either.add("LoadImage")
    page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", other)
    use.first.click()
    toast(either, "is in “Load Image” now")
    assert either.value(other, "image") == name
    _wait_until_shown(either, other, name)
    # onto the first free panel of the selected Stitch Panels
    stitch = either.add("InContextStitchPanels", 700, 100)
    either.connect(other, "IMAGE", stitch, "panel_1")
    page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", stitch)
    use.nth(1).click()
    toast(either, "is connected to panel_2 of “Stitch Panels”")
    linked = either.node(stitch, "node.inputs.find(input => input.name === 'panel_2').link")
    assert linked is not None
    either.undo()
    page.wait_for_function(
        "id => app.graph.getNodeById(id).inputs.find(input => input.name === 'panel_2').link == null", arg=stitch
    )
    assert page.evaluate("() => app.graph.nodes.length") == 2
    assert len(list((either.server.base / "input").glob("*SCENE-1*.png"))) == 1


def _wait_until_shown(interface: Interface, loader: int, name: str) -> None:
    """In Nodes 2.0, the list of files names the picture; the classic canvas draws the widget's value."""
    if interface.renderer == "nodes-2.0":
        interface.page.locator(f'[data-node-id="{loader}"]').get_by_text(name).wait_for()


def test_a_panel_is_painted_again_and_the_others_stay(either: Interface, gallery: Locator) -> None:
    cards = gallery.locator(".incontext-set", has_text="seed").all()
    sets = [either.server.get_json(f"/incontext_lora/sets/{each.get_attribute('data-set')}")["set"] for each in cards]
    # the oldest whose canvas was saved; other tests make sets without one
    card, made = next((card, made) for card, made in zip(cards[::-1], sets[::-1], strict=True) if made["picture"])
    before = pixels(either.server.fetch_image(**_place(made["picture"])))
    card.get_by_role("button", name="Repaint").nth(1).click()
    toast(either, "paints [SCENE-2] again")
    either.screenshot(f"gallery-repaint-{either.renderer}")
    repaint = either.node_id("InContextRepaintPanels")
    assert either.value(repaint, "panels") == "2"
    assert either.value(either.node_id("InContextJointCaption"), "panel_2") == made["panels"][1]["text"]
    outputs = either.run()
    save = next(
        entry["images"][0] for node, entry in outputs.items() if "images" in entry and len(entry["images"]) == 1
    )
    after = pixels(either.server.fetch_image(**_place(save)))
    assert after.shape == before.shape
    scale = before.shape[1] / made["layout"]["width"]
    for index, panel in enumerate(made["panels"]):
        left, top, width, height = (round(scale * edge) for edge in panel["box"])
        part = np.s_[top : top + height, left : left + width]
        assert np.array_equal(before[part], after[part]) == (index != 1)
    gallery.locator(".incontext-set").nth(1).wait_for()


def _place(file: dict[str, str]) -> dict[str, str]:
    return {"filename": file["filename"], "subfolder": file["subfolder"], "type": file["type"]}


def test_a_set_becomes_training_data_with_one_click(either: Interface, gallery: Locator) -> None:
    add = gallery.locator(".incontext-set").first.locator(".incontext-actions .incontext-button").first
    field = gallery.locator(".incontext-dataset-name")
    field.fill("")
    add.click()
    toast(either, "First write or choose the dataset's folder")
    field.fill("browser-sets")
    add.click()
    toast(either, "Added to browser-sets. Sets there now: 1.")
    folder = either.server.base / "input" / "browser-sets"
    (made,) = folder.iterdir()
    assert sorted(path.name for path in made.iterdir()) == ["1.png", "2.png", "3.png", "caption.txt"]
    cards = gallery.locator(".incontext-set")
    gallery.locator(".incontext-search").fill("nothing is called that")
    cards.first.wait_for(state="hidden")
    gallery.locator(".incontext-search").fill("")
    cards.first.get_by_text("In browser-sets").click()  # a search forgets nothing
    toast(either, "has this set already")
    assert len(list(folder.iterdir())) == 1


def test_the_workflow_of_a_set_opens(either: Interface, gallery: Locator) -> None:
    gallery.locator(".incontext-set").first.get_by_role("button", name="Open workflow").click()
    toast(either, "This is the workflow that made")
    assert either.node_id("InContextJointCaption")


def test_a_panel_is_shown_large(either: Interface, gallery: Locator) -> None:
    page = either.page
    gallery.locator(".incontext-set").first.locator(".incontext-look").first.click()
    large = page.locator(".incontext-large")
    large.wait_for()
    assert large.locator("mark").inner_text() == "[SCENE-1]"
    page.keyboard.press("ArrowRight")
    assert large.locator("mark").inner_text() == "[SCENE-2]"
    page.wait_for_function(
        "() => document.querySelector('.incontext-large canvas')?.width !== 300"
    )  # as it is without a picture
    either.screenshot(f"gallery-large-{either.renderer}")
    page.keyboard.press("Escape")
    large.wait_for(state="detached")


def test_a_set_shows_what_score_set_measured(either: Interface) -> None:
    either.load_template("quickstart")
    seed = 5252 + int(either.renderer == "nodes-2.0")
    either.set_value(either.node_id("KSampler"), "seed", seed)
    score = either.add("InContextScoreSet", 2000, 0)
    either.connect(either.node_id("VAEDecode"), "IMAGE", score, "image")
    either.connect(either.node_id("InContextLoadLora"), "layout", score, "layout")
    report = either.add("PreviewAny", 2400, 0)
    either.connect(score, "report", report, "source")
    outputs = either.run()
    text = outputs[str(report)]["text"][0]
    gallery = open_sets(either)
    fact = gallery.locator(".incontext-set", has_text=f"seed {seed}").locator(".incontext-score").first
    fact.wait_for()
    (measured,) = re.findall(r"(\d\.\d{3}) alike", text)
    assert fact.inner_text() == f"alike {float(measured):.2f}"
    # the whole report is on the node, line by line
    lines = text.splitlines()
    assert len(lines) > 1
    held = "node.widgets.map(widget => widget.value).find(value => String(value).includes('\\n'))"
    assert either.node(report, held).splitlines() == lines
    either.page.evaluate(f"() => app.extensionManager.sidebarTab.toggleSidebarTab('{TAB}')")


def test_it_is_legible_in_the_light_theme(interface: Interface) -> None:
    interface.setting("Comfy.ColorPalette", "light")
    try:
        gallery = open_sets(interface)
        gallery.locator(".incontext-set").first.wait_for()
        gallery.locator(".incontext-panel").first.hover()
        interface.page.wait_for_timeout(300)
        interface.screenshot("gallery-light")
    finally:
        interface.setting("Comfy.ColorPalette", "dark")
        interface.page.evaluate(f"() => app.extensionManager.sidebarTab.toggleSidebarTab('{TAB}')")
