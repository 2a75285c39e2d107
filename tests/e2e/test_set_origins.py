"""Every bundled workflow that makes sets says in its pictures where they came from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.demo.workflow import load, to_prompt
from incontext_lora.incontext.lora import tasks
from incontext_lora.incontext.lora.recipe import Recipe
from incontext_lora.incontext.sets.origin import Kind, origin_of, savers
from incontext_lora.incontext.sets.prompt import Prompt
from incontext_lora.tests.workflow_api import NAMES

if TYPE_CHECKING:
    from incontext_lora.demo.server import ComfyServer

# what these save is made of sets, or is not a set
NOT_SETS = {
    "build-dataset": "a contact sheet",
    "train-in-host": "a contact sheet and samples",
    "train-sd-scripts-flux": "a contact sheet and samples",
    "caption-panels": "texts",
    "compare-and-choose": "grids",
}
# recipes of LoRAs that are not published with the method
COMMUNITY = {"ICEdit": "ic-edit", "catvton": "cat-vton", "comfyui": "ace-plus", "visualcloze": "visual-cloze"}


@pytest.fixture(scope="module")
def info(server: ComfyServer) -> dict[str, Any]:
    return server.object_info()


def lora_recipe(name: str) -> Recipe | None:
    known = next((task for beginning, task in COMMUNITY.items() if name.startswith(beginning)), "film-storyboard")
    return tasks.recipe_for_file(name) or tasks.recipe(known)


@pytest.mark.parametrize("name", NAMES)
def test_a_templates_pictures_tell_layout_and_caption(name: str, info: dict[str, Any]) -> None:
    prompt = Prompt.parse(json.dumps(to_prompt(load(name), info)))
    found = [origin_of(prompt, saver.images, lora_recipe) for saver in savers(prompt)]
    if name in NOT_SETS:
        assert not any(found)
        return
    assert found
    for origin in found:
        assert origin is not None
        assert origin.caption
        assert origin.seed is not None
        assert origin.model
        assert origin.wiring.sampler is not None
        if origin.kind is not Kind.PICTURE:
            assert origin.layout is not None
            assert origin.recipe is not None
            assert len(origin.recipe.markers) == len(origin.layout)
    assert any(origin and origin.kind is Kind.CANVAS for origin in found)
    if any(node.kind == "InContextJointCaption" for node in prompt.nodes.values()):
        assert all(origin and origin.parts and all(origin.parts.panels) for origin in found)
    # the canvas and its panels are one set
    canvases = {origin.wiring.picture for origin in found if origin and origin.kind is Kind.CANVAS}
    assert all(origin.wiring.picture in canvases for origin in found if origin and origin.kind is Kind.PANELS)
