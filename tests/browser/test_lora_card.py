"""A list of LoRAs shows what the one under the pointer is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

LORA = "incontext-demo.safetensors"


def test_a_card_shows_a_loras_recipe_in_the_list(interface: Interface) -> None:
    page = interface.page
    node = interface.add("InContextLoadLora")
    interface.show(node)
    # a click on the field opens the list
    page.evaluate(
        """id => {
            const node = app.graph.getNodeById(id);
            const values = node.widgets.find(widget => widget.name === "lora_name").options.values;
            new LiteGraph.ContextMenu(values, { event: new MouseEvent("click", { clientX: 300, clientY: 200 }) }) }""",
        node,
    )
    page.locator(f'.litemenu-entry[data-value="{LORA}"]').hover()
    card = page.locator(".incontext-card")
    card.get_by_text("[SHAPE-STORY]").wait_for()
    assert "3 panels" in card.inner_text()
    size = card.bounding_box()
    assert size is not None
    assert size["height"] < 400
    interface.screenshot("lora-card")
    page.mouse.move(5, 5)
    card.wait_for(state="detached")
    page.keyboard.press("Escape")
