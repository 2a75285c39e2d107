"""Every bundled workflow as it opens: nothing is missing, nothing lies over another node, and values stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from incontext_lora.demo.workflow import WORKFLOWS, load

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
# nodes with their title bars, as the canvas draws them once all are in view
BOXES = """() => app.graph.nodes.map(node => {
    const [x, y, width, height] = node.boundingRect;
    return { name: `${node.id} ${node.type}`, x, y, right: x + width, bottom: y + height } })"""


@pytest.mark.parametrize("name", NAMES)
def test_a_template_opens_as_it_was_made(interface: Interface, name: str) -> None:
    interface.load_template(name)
    interface.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    interface.page.wait_for_timeout(400)  # the movement of the view; pictures and fields grow meanwhile
    unknown = (
        "() => app.graph.nodes.filter(node => !(node.type in LiteGraph.registered_node_types)).map(node => node.type)"
    )
    assert interface.page.evaluate(unknown) == []
    boxes = interface.page.evaluate(BOXES)
    over = [
        (one["name"], other["name"])
        for index, one in enumerate(boxes)
        for other in boxes[:index]
        if one["x"] < other["right"] and other["x"] < one["right"]
        if one["y"] < other["bottom"] and other["y"] < one["bottom"]
    ]
    assert over == []
    assert set(map(tuple, links(interface))) == {tuple(link[:5]) for link in named(load(name))}


def links(interface: Interface) -> list[list[object]]:
    """Id, origin, output's number, target and input's name of every link on the page; newer ComfyUI has ids as text."""
    script = """() => [...app.graph.links.values()].map(link => [link.id, Number(link.origin_id), link.origin_slot,
        Number(link.target_id), app.graph.getNodeById(link.target_id).inputs[link.target_slot].name])"""
    return interface.page.evaluate(script)


def named(workflow: dict) -> list[list[object]]:
    """The same of a workflow's file."""
    inputs = {node["id"]: node.get("inputs", []) for node in workflow["nodes"]}
    return [
        [number, origin, slot, target, next(each["name"] for each in inputs[target] if each["link"] == number)]
        for number, origin, slot, target, *_ in workflow["links"]
    ]
