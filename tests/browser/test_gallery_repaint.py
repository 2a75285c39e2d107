"""Any workflow that makes sets becomes one that paints a panel again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.sets.origin import Origin, origin_of, savers, wiring_json
from incontext_lora.incontext.sets.prompt import Prompt

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

PACK = "incontext-lora"
TEMPLATES = {
    "quickstart": "incontext/set",  # an empty latent and a sampler
    "storyboard-flux": "incontext/storyboard",  # a guider and a custom sampler
    "character-storyboard": "incontext/shot-set",  # a reference on Stitch Panels
    "ic-edit-instruction": "incontext/edited-set",  # two Stitch Panels
    "repaint-panel": "incontext/set-repainted",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_kind_of_workflow_can_be_changed_to_repaint(interface: Interface, name: str) -> None:
    def canvas_origin() -> Origin:
        prompt = Prompt.of(interface.page.evaluate("async () => (await app.graphToPrompt()).output"))
        images = next(saver.images for saver in savers(prompt) if saver.prefix == TEMPLATES[name])
        origin = origin_of(prompt, images, lambda lora: tasks.recipe_for_file(lora) or tasks.recipe("film-storyboard"))
        assert origin is not None
        return origin

    interface.load_template(name)
    before = canvas_origin()
    script = """async ([wiring, folder]) => {
        const { repaintPanel } = await import(`/extensions/${folder}/lib/gallery/repaint.mjs`);
        return repaintPanel(app, wiring, "incontext-demo-reference.png", 1, "Repaint") }"""
    assert interface.page.evaluate(script, [wiring_json(before.wiring), PACK])
    interface.settle()
    after = canvas_origin()
    assert after.layout == before.layout
    assert after.given == tuple(index != 1 for index in range(len(before.layout or ())))
    assert (after.caption, after.loras) == (before.caption, before.loras)
    nodes = interface.page.evaluate("async () => Object.values((await app.graphToPrompt()).output)")
    kinds = [node["class_type"] for node in nodes]
    for kind in ("InContextRepaintPanels", "InContextConditionPanels", "InContextKeepGiven"):
        assert kinds.count(kind) == 1
    condition = next(node for node in nodes if node["class_type"] == "InContextConditionPanels")
    assert all(
        isinstance(condition["inputs"].get(name), list)
        for name in ("model", "vae", "canvas", "mask", "layout", "positive")
    )
    interface.screenshot(f"gallery-repaints-{name}")
