"""Every bundled workflow as it opens, and after a run: nothing is missing, and nothing lies over another node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.demo.arrange import WIDTH
from incontext_lora.demo.workflow import WORKFLOWS, load
from PIL import Image

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
REPORT = (
    "Three lines.\nThe caption has 83 tokens for CLIP and 91 for T5.\nThe last one is a little longer than the others."
)
# nodes with their title bars, once two looks at them agree
BOXES = """async () => {
    const look = () => app.graph.nodes.map(node => {
        const [x, y, width, height] = node.boundingRect;
        return { name: `${node.id} ${node.type}`, x, y, right: x + width, bottom: y + height } });
    const frames = async count => { while (count--) await new Promise(requestAnimationFrame) };
    for (let before = "", tries = 0; tries < 40; tries++) {
        const boxes = look();
        if (JSON.stringify(boxes) === before) return boxes;
        before = JSON.stringify(boxes);
        await frames(8) }
    throw new Error("the nodes' sizes do not settle") }"""
# nodes that begin inside a group and reach out of it
OUTSIDE = """() => app.graph.nodes.flatMap(node => {
    const [x, y, width, height] = node.boundingRect;
    return app.graph.groups.map(group => group.boundingRect ?? group._bounding)
        .filter(([left, top, w, h]) => left <= x && x < left + w && top <= y && y < top + h)
        .filter(([left, top, w, h]) => x + width > left + w + 1 || y + height > top + h + 1)
        .map(() => `${node.id} ${node.type}`) })"""
# what the server sends when these nodes have run
RAN = """async ([picture, text]) => {
    for (const node of app.graph.nodes) {
        const images = { images: [picture] };
        const outputs = { SaveImage: images, PreviewImage: images, LossGraphNode: images, PreviewAny: { text: [text] } };
        const output = outputs[node.type];
        const detail = { node: String(node.id), display_node: String(node.id), output, prompt_id: "test" };
        if (output) window.comfyAPI.api.api.dispatchCustomEvent("executed", detail) }
    const shown = () => app.graph.nodes.every(node => node.type !== "SaveImage" || node.imgs?.length);
    for (let tries = 0; tries < 300 && !shown(); tries++) await new Promise(requestAnimationFrame) }"""
RESULTS = ("SaveImage", "PreviewImage", "LossGraphNode", "PreviewAny")


@pytest.mark.parametrize("name", NAMES)
def test_a_template_opens_as_it_was_made(interface: Interface, name: str) -> None:
    open_template(interface, name)
    unknown = (
        "() => app.graph.nodes.filter(node => !(node.type in LiteGraph.registered_node_types)).map(node => node.type)"
    )
    assert interface.page.evaluate(unknown) == []
    assert overlapping(interface.page.evaluate(BOXES)) == []
    assert interface.page.evaluate(OUTSIDE) == []
    assert set(map(tuple, links(interface))) == {tuple(link[:5]) for link in named(load(name))}


@pytest.mark.parametrize("name", NAMES)
def test_a_template_stays_in_order_and_shows_its_result_after_a_run(interface: Interface, name: str) -> None:
    """Models of most templates are not here, so nodes get what the server would send: a tall picture, a report."""
    Image.new("RGB", (1024, 1536), (206, 186, 164)).save(interface.server.base / "input" / "tall.png")
    open_template(interface, name)
    opened = interface.page.evaluate(BOXES)
    interface.page.evaluate(RAN, [{"filename": "tall.png", "subfolder": "", "type": "input"}, REPORT])
    boxes = interface.page.evaluate(BOXES)
    assert overlapping(boxes) == []
    assert extent(boxes, "x", "right") <= WIDTH
    assert extent(boxes, "y", "bottom") <= extent(opened, "y", "bottom") * 1.1
    left, top, width, height = interface.page.evaluate("() => [...app.canvas.ds.visible_area]")
    for box in boxes:
        if box["name"].split()[1] in RESULTS:
            assert left <= box["x"], box
            assert box["right"] <= left + width, box
            assert top <= box["y"], box
            assert box["y"] + 0.8 * (box["bottom"] - box["y"]) <= top + height, box


@pytest.mark.parametrize("name", NAMES)
def test_a_template_stays_in_order_in_nodes_2_after_a_run(interface: Interface, name: str) -> None:
    """Nodes are higher there. Frontend 1.32 also moves nodes when a workflow opens, ComfyUI's own too: not looked at."""
    if (
        interface.page.evaluate("() => app.extensionManager.setting.get('Comfy.Node.AlwaysShowAdvancedWidgets')")
        is None
    ):
        pytest.skip("this frontend moves the nodes of any workflow that it opens in Nodes 2.0")
    Image.new("RGB", (1024, 1536), (206, 186, 164)).save(interface.server.base / "input" / "tall.png")
    interface.set_vue_nodes(True)
    open_template(interface, name)
    assert overlapping(interface.page.evaluate(BOXES)) == []
    assert interface.page.evaluate(OUTSIDE) == []
    interface.page.evaluate(RAN, [{"filename": "tall.png", "subfolder": "", "type": "input"}, REPORT])
    assert overlapping(interface.page.evaluate(BOXES)) == []


def test_the_list_of_templates_is_in_order_and_found(interface: Interface) -> None:
    page = interface.page
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    try:
        page.get_by_role("dialog").get_by_text("incontext-lora", exact=True).first.click()
        cards = page.locator('[data-testid^="template-workflow-"]')
        page.wait_for_function(
            "() => document.querySelector('[data-testid^=\"template-workflow-\"]')?.dataset.testid.endsWith('-quickstart')"
        )
        names = [each["name"] for each in interface.server.get_json("/extensions/incontext-lora/templates/index.json")]
        shown = [
            card.removeprefix("template-workflow-")
            for card in cards.evaluate_all("all => all.map(each => each.dataset.testid)")
        ]
        assert shown == names[: len(shown)]
        assert len(shown) >= 8
        for words, name in (
            ("try-on", "virtual-try-on"),
            ("Kontext", "kontext-panels"),
            ("storyboard", "storyboard-flux"),
        ):
            page.get_by_placeholder("Search").first.fill(words)
            page.locator(f'[data-testid="template-workflow-{name}"]').wait_for()
        interface.screenshot("templates")
    finally:
        interface.open()  # tests share the page, and Escape only empties the search


def open_template(interface: Interface, name: str) -> None:
    interface.load_template(name)
    interface.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    interface.settle()


def overlapping(boxes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (one["name"], other["name"])
        for index, one in enumerate(boxes)
        for other in boxes[:index]
        if one["x"] < other["right"] and other["x"] < one["right"]
        if one["y"] < other["bottom"] and other["y"] < one["bottom"]
    ]


def extent(boxes: list[dict[str, Any]], start: str, end: str) -> float:
    return max(box[end] for box in boxes) - min(box[start] for box in boxes)


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
