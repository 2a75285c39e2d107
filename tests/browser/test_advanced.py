"""Advanced inputs are out of sight until they are asked for, and are sent all the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

TRAINING = "InContextTrainLoraInHost"
FIRST = ["name", "steps", "batch_size", "learning_rate", "rank", "reference_share", "sample_every", "continue_from"]
FIELDS = """node.widgets.filter(widget => widget.serialize !== false && !widget.options.hidden
    && !(widget.options.advanced && LiteGraph.vueNodesMode && !node.showAdvanced
        && app.extensionManager.setting.get("Comfy.Node.AlwaysShowAdvancedWidgets") !== undefined))
    .map(widget => widget.name)"""
TOGGLE = "node.widgets.find(widget => widget.options?.incontext_advanced)"


def shown(interface: Interface, node: int) -> list[str]:
    return interface.node(node, FIELDS)


def press(interface: Interface, node: int) -> None:
    interface.node(node, f"{TOGGLE}.callback()")
    interface.settle()
    interface.settle()


def by_host(interface: Interface, node: int) -> bool:
    return bool(interface.node(node, f"{TOGGLE}.hidden"))


def test_training_shows_eight_fields(either: Interface) -> None:
    node = either.add(TRAINING)
    either.settle()
    assert shown(either, node) == FIRST
    full: dict[str, Any] = either.inputs(node)
    assert full["seed"] == 0
    assert full["optimiser"] == "AdamW"
    either.screenshot(f"advanced-folded-{either.renderer}")
    if by_host(either, node):
        return
    if either.renderer == "nodes-2.0":
        either.page.get_by_role("button", name=re.compile(r"Show \d+ advanced inputs")).wait_for()
    folded = either.node(node, "node.size[1]")
    press(either, node)
    assert len(shown(either, node)) > 20
    assert either.node(node, "node.size[1]") > folded
    assert {"seed", "optimiser"} <= set(either.node(node, "node.inputs.map(input => input.name)"))
    either.screenshot(f"advanced-open-{either.renderer}")
    press(either, node)
    assert shown(either, node) == FIRST
    assert either.inputs(node) == full


def test_a_connected_advanced_field_stays_in_sight_and_the_choice_is_saved(either: Interface) -> None:
    node = either.add(TRAINING)
    if by_host(either, node):
        return
    press(either, node)
    number = either.add("PrimitiveInt", -400)
    either.connect(number, "INT", node, "seed")
    press(either, node)
    assert shown(either, node) == [*FIRST[:-1], "seed", FIRST[-1]]
    press(either, node)
    either.set_value(node, "alpha", 3.0)
    saved = either.page.evaluate("() => app.graph.serialize()")
    either.load(saved)
    again = either.node_id(TRAINING)
    assert len(shown(either, again)) > 20
    assert either.inputs(again)["alpha"] == 3.0
    press(either, again)
    assert shown(either, again) == [*FIRST[:-1], "seed", FIRST[-1]]
    assert either.inputs(again)["seed"] == [str(either.node_id("PrimitiveInt")), 0]
