"""The interface in Chinese: our nodes have Chinese names there, and send what they always send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.tests.browser.editors import field, wait

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

TEXTS = Path(__file__).resolve().parents[2] / "locales" / "zh"
NODES: dict[str, Any] = json.loads((TEXTS / "nodeDefs.json").read_text(encoding="utf-8"))


@pytest.fixture
def chinese(either: Interface) -> Iterator[Interface]:
    """The interface as it is after a start in Chinese; then in English again."""
    either.server.post_json("/settings", {"Comfy.Locale": "zh"})
    vue = either.renderer == "nodes-2.0"
    either.open()
    either.set_vue_nodes(vue)
    yield either
    either.server.post_json("/settings", {"Comfy.Locale": "en"})
    either.open()
    either.set_vue_nodes(vue)
    either.clear()


def labels(interface: Interface, node: int) -> dict[str, Any]:
    return interface.node(
        node,
        """({
            title: node.title,
            category: node.constructor.category,
            description: node.constructor.nodeData.description,
            widgets: Object.fromEntries(node.widgets.map(widget => [widget.name, widget.label])),
            inputs: Object.fromEntries(node.inputs.map(input => [input.name, input.localized_name])),
            outputs: node.outputs.map(output => output.localized_name),
            tooltips: Object.fromEntries(Object.values(node.constructor.nodeData.inputs)
                .map(input => [input.name, input.tooltip])),
        })""",
    )


@pytest.mark.parametrize("kind", ["InContextLayout", "InContextTrainLoraInHost"])
def test_nodes_are_named_in_chinese(chinese: Interface, kind: str) -> None:
    node = chinese.add(kind)
    chinese.show(node)
    shown, texts = labels(chinese, node), NODES[kind]
    assert shown["title"] == texts["display_name"]
    assert shown["description"] == texts["description"]
    assert shown["outputs"] == [texts["outputs"][str(number)]["name"] for number in range(len(shown["outputs"]))]
    for name, text in texts["inputs"].items():
        assert shown["inputs"].get(name, text["name"]) == text["name"]
        assert shown["widgets"].get(name, text["name"]) == text["name"]
        assert shown["tooltips"][name] == text["tooltip"]
    assert set(texts["inputs"]) <= {*shown["inputs"], *shown["widgets"]}
    if chinese.renderer == "nodes-2.0":  # the classic canvas paints its text
        chinese.page.get_by_text(texts["display_name"]).first.wait_for()
        label = texts["inputs"]["height" if kind == "InContextLayout" else "steps"]["name"]
        chinese.page.get_by_text(label).first.wait_for()
    chinese.screenshot(f"chinese-{kind}-{chinese.renderer}")


def test_problems_of_a_caption_and_of_a_layout_are_said_in_chinese(chinese: Interface) -> None:
    task, caption, layout = (
        chinese.add("InContextTask", 500),
        chinese.add("InContextJointCaption"),
        chinese.add("InContextLayout", 900),
    )
    chinese.connect(task, "recipe", caption, "recipe")
    chinese.show(caption)
    field(chinese, "总述").fill("a day")
    field(chinese, "[SCENE-1]").fill("a {red|blue coat")
    chinese.set_value(layout, "names", "A, B")
    wait(chinese, "() => document.querySelector('.incontext-line').textContent.includes('a day')")
    assert chinese.page.locator(".incontext-notes li").all_inner_texts() == [
        "[SCENE-2], [SCENE-3] 之后没有文本；这样的分格画什么由模型决定。"
    ]
    assert "此通配符缺少右花括号" in chinese.page.locator(".incontext-hint:visible").inner_text()
    foot = chinese.page.locator(".incontext-foot.incontext-problem")
    assert foot.inner_text() == "格数：3，名称数：2。请为每格写一个名称，用逗号分隔。"
    chinese.screenshot(f"chinese-problems-{chinese.renderer}")


def test_the_language_can_be_changed_while_it_is_open(interface: Interface) -> None:
    """A choice in the settings takes effect at once, both ways, and a workflow keeps its values."""
    node = interface.add("InContextLayout")
    interface.set_value(node, "rows", 2)
    english, sent = labels(interface, node), interface.inputs(node)
    try:
        interface.setting("Comfy.Locale", "zh")
        title = NODES["InContextLayout"]["display_name"]
        interface.page.wait_for_function("title => app.graph.nodes[0]?.title === title", arg=title)
        changed = interface.node_id("InContextLayout")
        assert labels(interface, changed)["widgets"]["rows"] == NODES["InContextLayout"]["inputs"]["rows"]["name"]
        assert interface.inputs(changed) == sent
    finally:
        interface.setting("Comfy.Locale", "en")
    interface.page.wait_for_function("title => app.graph.nodes[0]?.title === title", arg=english["title"])
    back = interface.node_id("InContextLayout")
    assert labels(interface, back)["outputs"] == english["outputs"]
    assert interface.inputs(back) == sent
