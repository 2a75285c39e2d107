"""Blueprints found by the search for nodes, put on the canvas and wired in: their fields go to the nodes they are named after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.tests.browser.editors import wait

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

MODELS = {
    "model": ("UNETLoader", "MODEL", {"unet_name": "incontext-demo-transformer.safetensors"}),
    "clip": ("CLIPLoader", "CLIP", {"clip_name": "incontext-demo-text-encoder.safetensors", "type": "sd3"}),
    "vae": ("VAELoader", "VAE", {"vae_name": "incontext-demo-autoencoder.safetensors"}),
}


def drop(interface: Interface, title: str) -> int:
    """Double-click the empty canvas, search, and take the blueprint that is found; returns the id of its node."""
    page = interface.page
    page.mouse.dblclick(1000, 500)
    page.locator(".p-dialog input:focus").wait_for()
    page.keyboard.type(title)
    page.locator('[role="option"]', has_text=title).first.click()
    page.locator(".p-dialog-mask").wait_for(state="detached")  # it fades, and takes clicks until it is gone
    wait(interface, "() => app.graph.nodes.length === 1 && app.graph.nodes[0].subgraph?.nodes.length > 1")
    if page.evaluate("() => app.canvas.state.ghostNodeId != null"):
        page.mouse.click(1000, 400)  # newer frontends hold it under the pointer until then
        wait(interface, "() => app.canvas.state.ghostNodeId == null")
    interface.settle()
    return int(page.evaluate("() => Number(app.graph.nodes[0].id)"))


def wire(interface: Interface, blueprint: int) -> None:
    """Connect the demo's models."""
    for row, (name, (kind, output, values)) in enumerate(MODELS.items()):
        loader = interface.add(kind, -400, 160 * row)
        for widget, value in values.items():
            interface.set_value(loader, widget, value)
        interface.connect(loader, output, blueprint, name)


def sent(interface: Interface) -> dict[str, dict[str, Any]]:
    """The inputs that are sent, by the nodes' types."""
    prompt = interface.page.evaluate("async () => (await app.graphToPrompt()).output")
    return {node["class_type"]: node["inputs"] for node in prompt.values()}


def fields(interface: Interface, node: int) -> dict[str, Any]:
    return dict(interface.node(node, "node.widgets.map(widget => [widget.name, widget.value])"))


@pytest.mark.parametrize("fields_of", [False, True], ids=["as it comes", "changed"])
def test_the_blueprint_of_a_training_sends_what_its_face_says(either: Interface, fields_of: bool) -> None:
    blueprint = drop(either, "In-Context LoRA - Train")
    wire(either, blueprint)
    layout = either.add("InContextLayout", -800, 0)
    either.connect(layout, "recipe", blueprint, "recipe")
    wanted = {
        "folder": "incontext-demo-sets",
        "name": "my-shape-story",
        "steps": 600,
        "batch_size": 16,
        "learning_rate": 0.002,
        "rank": 16,
    }
    assert fields(either, blueprint) == wanted
    if fields_of:
        wanted |= {"name": "mine", "steps": 7, "batch_size": 3, "learning_rate": 0.001, "rank": 4}
        for name, value in wanted.items():
            either.set_value(blueprint, name, value)
    inputs = sent(either)
    assert inputs["InContextBuildDataset"]["folder"] == wanted.pop("folder")
    train = inputs["InContextTrainLoraInHost"]
    assert {name: train[name] for name in wanted} == wanted
    assert (train["gradient_accumulation"], train["schedule"], train["alpha"]) == (1, "cosine", 16)
    assert all(isinstance(train[name], list) for name in ("model", "clip", "vae", "dataset"))


def test_the_blueprint_of_a_reference_paints_to_it(either: Interface) -> None:
    blueprint = drop(either, "In-Context LoRA - Paint to a reference")
    wire(either, blueprint)
    loader = either.add("LoadImage", -800, 0)
    either.connect(loader, "IMAGE", blueprint, "reference")
    save = either.add("SaveImage", 600, 0)
    either.connect(blueprint, "painted", save, "images")
    either.set_value(blueprint, "steps", 2)
    either.set_value(blueprint, "panel_2", "a cross")
    inputs = sent(either)
    assert inputs["KSampler"]["steps"] == 2
    assert inputs["InContextJointCaption"]["panel_2"] == "a cross"
    outputs = either.run()
    assert len(outputs[str(save)]["images"]) == 2, "the panels that are not given"
