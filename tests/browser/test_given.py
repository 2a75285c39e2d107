"""Given images in the picture of a layout: drawn as Stitch Panels fits them, with both renderers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from incontext_lora.tests.browser.editors import wait
from PIL import Image

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 255, 255)
# colours of a cell's picture at shares of its width and height; null where the cell has none
PIXELS = """([index, points]) => {
    const cell = [...document.querySelectorAll('.incontext-picture')].at(-1).querySelectorAll('.incontext-cell')[index];
    const canvas = cell?.querySelector('.incontext-image:not([hidden])');
    if (!canvas || !cell.matches('.incontext-pictured')) return null;
    const context = canvas.getContext('2d');
    return points.map(([x, y]) => [...context.getImageData(
        Math.min(canvas.width - 1, Math.floor(x * canvas.width)), Math.min(canvas.height - 1, Math.floor(y * canvas.height)), 1, 1
    ).data].slice(0, 3)) }"""
MIDDLES = [(0.02, 0.5), (0.25, 0.5), (0.75, 0.5), (0.98, 0.5)]


@pytest.fixture
def stitch(either: Interface) -> int:
    """A Stitch Panels of three panels of 1024×512, the first with a picture of 200×200, red left and blue right."""
    for name, (left, right), size in (("halves", (RED, BLUE), (200, 200)), ("other", (GREEN, GREEN), (400, 200))):
        picture = Image.new("RGB", size, right)
        picture.paste(left, (0, 0, size[0] // 2, size[1]))
        picture.save(either.server.base / "input" / f"{name}.png")
    opened = Image.open(either.server.base / "input" / "halves.png").convert("RGBA")
    opened.putalpha(Image.new("L", (200, 200), 255))
    opened.paste((255, 0, 0, 0), (0, 0, 100, 200))  # the left half is opened by its mask
    opened.save(either.server.base / "input" / "opened.png")
    either.page.evaluate("() => app.refreshComboInNodes()")
    task, stitch = either.add("InContextTask", 0, 600), either.add("InContextStitchPanels", 500)
    either.connect(task, "layout", stitch, "layout")
    either.connect(loader(either, "halves.png"), "IMAGE", stitch, "panel_1")
    either.show(stitch)
    return stitch


def loader(interface: Interface, file: str, y: float = 0) -> int:
    node = interface.add("LoadImage", 0, y)
    interface.set_value(node, "image", file)
    return node


def shows(interface: Interface, panel: int, colours: list[tuple[int, int, int]], points: object = None) -> None:
    """Wait until a panel's picture has these colours, but for what reducing it changes."""
    near = "(one, other) => one.every((part, place) => Math.abs(part - other[place]) < 24)"
    condition = f"""([index, points, expected]) => {{ const seen = ({PIXELS})([index, points]);
        return seen !== null && seen.every((colour, place) => ({near})(colour, expected[place])) }}"""
    wait(interface, condition, [panel - 1, points or MIDDLES, colours])


def test_a_given_image_is_drawn_as_it_is_fitted(either: Interface, stitch: int) -> None:
    shows(either, 1, [RED, RED, BLUE, BLUE])  # cover
    either.set_value(stitch, "fit", "contain")
    shows(either, 1, [WHITE, WHITE, WHITE, WHITE], [(0.02, 0.5), (0.2, 0.5), (0.8, 0.5), (0.98, 0.5)])
    shows(either, 1, [RED, BLUE], [(0.45, 0.5), (0.55, 0.5)])
    either.screenshot(f"given-contain-{either.renderer}")
    either.set_value(stitch, "align", "left")
    shows(either, 1, [RED, BLUE, WHITE, WHITE], [(0.1, 0.5), (0.4, 0.5), (0.6, 0.5), (0.9, 0.5)])
    either.set_value(stitch, "fit", "contain, extend edges")
    shows(either, 1, [RED, BLUE, BLUE, BLUE], [(0.1, 0.5), (0.4, 0.5), (0.6, 0.5), (0.9, 0.5)])
    either.set_value(stitch, "exceptions", "1: contain, right")
    shows(either, 1, [WHITE, WHITE, RED, BLUE], [(0.1, 0.5), (0.4, 0.5), (0.6, 0.5), (0.9, 0.5)])


def test_the_picture_follows_the_file_that_is_chosen(either: Interface, stitch: int) -> None:
    shows(either, 1, [RED, RED, BLUE, BLUE])
    load = either.node_id("LoadImage")
    either.set_value(load, "image", "other.png")
    shows(either, 1, [GREEN] * 4)
    either.set_value(load, "image", "there-is-no-such-file.png")
    wait(either, "() => document.querySelectorAll('.incontext-pictured').length === 0")
    assert either.page.locator(".incontext-picture img").count() == 0
    assert either.page.locator(".incontext-picture .incontext-given").count() == 1


def test_what_a_mask_opens_is_hatched(either: Interface, stitch: int) -> None:
    load = either.node_id("LoadImage")
    either.set_value(load, "image", "opened.png")
    shows(either, 1, [RED, RED, BLUE, BLUE])  # the file's transparency does not belong to the image
    either.connect(load, "MASK", stitch, "mask_1")
    wait(
        either,
        f"""points => {{ const seen = ({PIXELS})([0, points]);
            return seen !== null && seen.slice(0, 2).every(([red]) => red < 200) && seen[2][2] > 230 && seen[3][2] > 230 }}""",
        MIDDLES,
    )
    assert either.page.locator(".incontext-picture .incontext-opened.incontext-pictured").count() == 1
    either.screenshot(f"given-opened-{either.renderer}")


def test_a_batch_is_drawn_panel_by_panel(either: Interface, stitch: int) -> None:
    batch = either.add("ImageBatch", 250, 900)
    for number, file in enumerate(("other.png", "halves.png"), start=1):
        either.connect(loader(either, file, 900 + 400 * number), "IMAGE", batch, f"image{number}")
    either.connect(batch, "IMAGE", stitch, "images")
    shows(either, 1, [RED, RED, BLUE, BLUE])  # numbered inputs take precedence
    shows(either, 2, [RED, RED, BLUE, BLUE])
    wait(either, "() => document.querySelectorAll('.incontext-pictured').length === 2")


def test_a_picture_that_a_node_has_shown_is_drawn(either: Interface, stitch: int) -> None:
    empty, preview = either.add("EmptyImage", 250, 900), either.add("PreviewImage", 600, 900)
    either.set_value(empty, "color", 0x00A000)
    either.connect(empty, "IMAGE", stitch, "panel_3")
    either.connect(empty, "IMAGE", preview, "images")
    assert either.page.locator(".incontext-picture .incontext-given").count() == 2
    wait(either, "() => document.querySelectorAll('.incontext-pictured').length === 1")
    either.page.evaluate("id => app.queuePrompt(0, 1, [String(id)])", preview)
    shows(either, 3, [GREEN] * 4)


def test_a_finished_set_is_drawn_where_its_panels_are_chosen(either: Interface) -> None:
    finished = Image.new("RGB", (256, 384), BLUE)
    finished.paste(RED, (0, 0, 256, 128))
    finished.save(either.server.base / "input" / "finished.png")
    either.page.evaluate("() => app.refreshComboInNodes()")
    task, repaint = either.add("InContextTask", 0, 600), either.add("InContextRepaintPanels", 500)
    either.connect(task, "layout", repaint, "layout")
    either.connect(loader(either, "finished.png"), "IMAGE", repaint, "image")
    either.show(repaint)
    shows(either, 1, [RED] * 4)
    shows(either, 3, [BLUE] * 4)
    either.page.locator(".incontext-picture button.incontext-cell").first.click()
    wait(either, "() => document.querySelectorAll('.incontext-pictured[aria-pressed=true]').length === 2")
    either.screenshot(f"given-finished-{either.renderer}")
