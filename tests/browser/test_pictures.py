"""The README's pictures of the interface, made from the interface as it is.

    INCONTEXT_LORA_PICTURES=docs python run.py test browser -- -k pictures

Look at them before you commit them. A training of the demo is shown; ``INCONTEXT_LORA_PICTURED_RUN`` names the folder of
another run.
"""

from __future__ import annotations

import os
import shutil
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from incontext_lora.tests.browser.conftest import open_interface
from incontext_lora.tests.browser.editors import field
from incontext_lora.tests.browser.test_gallery import open_sets
from incontext_lora.tests.browser.trainings import panel, past_run, pick, runs_folder
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incontext_lora.demo.server import ComfyServer
    from incontext_lora.tests.browser.conftest import Interface
    from playwright.sync_api import Browser, FloatRect

FOLDER = os.environ.get("INCONTEXT_LORA_PICTURES")
SHARPNESS = 1.5
MARGIN = 16  # pixels of the page around what is shown
TEXTS = {
    "Summary": "In three quiet scenes, a lighthouse keeper looks after the lamp through a storm.",
    "[SCENE-1]": "Ada climbs the spiral stairs with a brass lamp.",
    "[SCENE-2]": "Ada lights the lamp while rain beats against the glass.",
    "[SCENE-3]": "Ada drinks tea at dawn above a calm sea.",
}
AREA = """ids => {
    const boxes = ids.map(id => app.graph.getNodeById(id).boundingRect);
    const [left, top] = [0, 1].map(side => Math.min(...boxes.map(box => box[side])));
    const [right, bottom] = [0, 1].map(side => Math.max(...boxes.map(box => box[side] + box[side + 2])));
    const { ds } = app.canvas;
    ds.scale = 1;
    [ds.offset[0], ds.offset[1]] = [120 - left, 120 - top];
    app.canvas.deselectAll?.();
    app.canvas.setDirty(true, true);
    return [right - left, bottom - top] }"""

pytestmark = pytest.mark.skipif(not FOLDER, reason="INCONTEXT_LORA_PICTURES names no folder for the pictures")


@pytest.fixture(scope="module")
def page(browser: Browser, prepared_server: ComfyServer) -> Iterator[Interface]:
    interface = open_interface(browser, prepared_server, SHARPNESS)
    interface.set_vue_nodes(True)
    interface.clear()
    yield interface
    interface.page.context.close()


def keep(picture: bytes, name: str) -> None:
    """Save a picture small: few colours as PNG, or as JPEG."""
    assert FOLDER
    path = Path(FOLDER) / name
    with Image.open(BytesIO(picture)) as opened:
        image = opened.convert("RGB")
        if path.suffix == ".png":
            image.quantize(255, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
        else:
            image.thumbnail((1600, 1600))
            image.save(path, quality=85, optimize=True, progressive=True)
    assert path.stat().st_size < 300_000


def around(interface: Interface, *nodes: int) -> FloatRect:
    """Bring nodes into view; returns where they are on the page."""
    interface.page.evaluate(AREA, list(nodes))
    interface.page.wait_for_timeout(500)  # Nodes 2.0 find their sizes
    width, height = interface.page.evaluate(AREA, list(nodes))
    interface.settle()
    return {"x": 120 - MARGIN, "y": 120 - MARGIN, "width": width + 2 * MARGIN, "height": height + 2 * MARGIN}


def test_pictures_of_a_layout(page: Interface) -> None:
    page.clear()
    layout, stitch = page.add("InContextLayout"), page.add("InContextStitchPanels", 450)
    image = page.add("LoadImage", 0, 1200)
    page.set_value(layout, "kind", "nested rows")
    page.set_value(layout, "columns_per_row", "2, 3")
    page.set_value(layout, "width", 1024)
    page.set_value(layout, "height", 896)
    page.set_value(image, "image", "incontext-demo-reference.png")
    page.connect(layout, "layout", stitch, "layout")
    page.connect(image, "IMAGE", stitch, "panel_1")
    page.page.wait_for_timeout(1000)
    keep(page.page.screenshot(clip=around(page, layout, stitch)), "interface-layout.png")


def test_pictures_of_a_caption(page: Interface) -> None:
    page.clear()
    task, caption = page.add("InContextTask", 600), page.add("InContextJointCaption")
    page.connect(task, "recipe", caption, "recipe")
    for title, text in TEXTS.items():
        field(page, title).fill(text)
    page.set_value(caption, "names", "Ada")
    page.page.locator(".incontext-line").get_by_text("calm sea").wait_for()
    page.page.evaluate("() => document.activeElement.blur()")
    page.node(caption, "(node.setSize([480, 520]), true)")
    page.page.wait_for_timeout(1000)
    keep(page.page.screenshot(clip=around(page, caption)), "interface-caption.png")


def test_pictures_of_a_training(page: Interface) -> None:
    page.load_template("train-in-host")
    page.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    given = os.environ.get("INCONTEXT_LORA_PICTURED_RUN")
    name = Path(given).name if given else "storyboard"
    if given:
        shutil.copytree(given, runs_folder(page.server) / name, dirs_exist_ok=True)
    else:
        past_run(runs_folder(page.server), name)
    shown = panel(page)
    pick(shown, name)
    page.page.wait_for_timeout(1500)
    keep(shown.screenshot(), "interface-training.jpg")
    page.page.evaluate("() => { app.extensionManager.bottomPanel.activePanel = null }")


def test_pictures_of_sets(page: Interface) -> None:
    page.load_template("quickstart")
    sampler = page.node_id("KSampler")
    for seed in (11, 12, 13):
        page.set_value(sampler, "seed", seed)
        page.run()
    gallery = open_sets(page)
    gallery.locator(".incontext-set").nth(2).wait_for()
    page.page.wait_for_timeout(1000)
    first = gallery.bounding_box()
    last = gallery.locator(".incontext-set").nth(1).bounding_box()
    assert first
    assert last
    bottom = last["y"] + last["height"] + MARGIN
    clip: FloatRect = {"x": first["x"], "y": first["y"], "width": first["width"], "height": bottom - first["y"]}
    keep(page.page.screenshot(clip=clip), "interface-sets.jpg")
    page.page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('incontext-lora-sets')")


def test_pictures_of_the_templates(page: Interface) -> None:
    page.clear()
    page.page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.page.get_by_text("incontext-lora", exact=True).first.click()
    cards = page.page.locator('[data-testid^="template-workflow-"]')
    cards.nth(7).wait_for()
    page.page.wait_for_timeout(2000)
    keep(page.page.get_by_role("dialog").screenshot(), "interface-templates.jpg")
    page.open()
