"""Colours of the pack's wires and slots: their own with both renderers, and still there after another palette was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from incontext_lora.tests.browser.editors import wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from incontext_lora.tests.browser.conftest import Interface

TYPES = [f"INCONTEXT_{name}" for name in ("LAYOUT", "RECIPE", "DATASET", "RUN", "SWEEP", "WINDOW")]

# what the classic canvas, links in both renderers, and slots of Nodes 2.0 are drawn with
COLOURS = """types => types.map(type => [
    app.canvas.colourGetter.getConnectedColor(type), app.canvas.colourGetter.getDisconnectedColor(type),
    app.canvas.constructor.link_type_colors[type],
    getComputedStyle(document.body).getPropertyValue(`--color-datatype-${type}`).trim()])"""
# the colour in the middle of an output's slot on the classic canvas
DRAWN = """([id, output]) => {
    app.canvas.draw(true, true);
    const { canvas, ds: { scale, offset } } = app.canvas;
    const node = app.graph.getNodeById(id);
    const [x, y] = node.getOutputPos?.(output) ?? node.getConnectionPos(false, output);
    const density = canvas.width / canvas.getBoundingClientRect().width;
    const at = [(x + offset[0]) * scale * density, (y + offset[1]) * scale * density];
    return `rgb(${[...canvas.getContext("2d").getImageData(...at, 1, 1).data.slice(0, 3)].join(", ")})` }"""

# whether the first slots of outputs in Nodes 2.0 have these colours
SLOTS = """colours => [...document.querySelectorAll(".lg-slot--output .slot-dot")].slice(0, colours.length)
    .every((dot, index) => getComputedStyle(dot).backgroundColor === colours[index])"""


@pytest.fixture
def palettes(either: Interface) -> Iterator[Interface]:
    yield either
    choose(either, "dark")


def choose(interface: Interface, palette: str) -> None:
    interface.setting("Comfy.ColorPalette", palette)
    wait(
        interface,
        """dark => [document.body, document.documentElement].some(e => e.classList.contains('dark-theme')) === dark""",
        palette != "light",
    )
    interface.settle()


def colours(interface: Interface) -> list[str]:
    """One colour per type, where canvas, links and slots agree on it."""
    found = interface.page.evaluate(COLOURS, TYPES)
    assert all(len(set(each)) == 1 for each in found), dict(zip(TYPES, found, strict=True))
    return [each[0] for each in found]


def test_every_wire_has_a_colour_of_its_own_in_every_palette(palettes: Interface) -> None:
    seen = {}
    for palette in ("dark", "light", "nord", "dark", "light"):
        choose(palettes, palette)
        seen[palette] = colours(palettes)
        core = palettes.page.evaluate(
            "() => Object.entries(app.canvas.default_connection_color_byType)"
            ".filter(([type]) => !type.startsWith('INCONTEXT')).map(([, colour]) => colour.toLowerCase())"
        )
        assert len(set(seen[palette])) == len(TYPES)
        assert not {*seen[palette]} & {*core, "", palettes.page.evaluate("() => LiteGraph.LINK_COLOR").lower()}
    assert seen["dark"] == seen["nord"]
    assert not {*seen["dark"]} & {*seen["light"]}


def test_wires_and_slots_are_drawn_in_their_colours(palettes: Interface) -> None:
    task, stitch, caption = (
        palettes.add("InContextTask", 0, 200),
        palettes.add("InContextStitchPanels", 700),
        palettes.add("InContextJointCaption", 700, 700),
    )
    palettes.connect(task, "layout", stitch, "layout")
    palettes.connect(task, "recipe", caption, "recipe")
    palettes.show(task)
    for palette in ("dark", "light"):
        choose(palettes, palette)
        layout, recipe = colours(palettes)[:2]
        if palettes.renderer == "nodes-2.0":
            wait(palettes, SLOTS, [rgb(recipe), rgb(layout)])  # newer frontends fade to it
        else:
            assert [palettes.page.evaluate(DRAWN, [task, output]) for output in (0, 1)] == [rgb(recipe), rgb(layout)]
        palettes.screenshot(f"wires-{palette}-{palettes.renderer}")


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"
