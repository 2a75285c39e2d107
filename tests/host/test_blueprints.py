"""Subgraph blueprints against the nodes as ComfyUI describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from incontext_lora.demo.blueprints import BLUEPRINTS, Blueprint, fold

if TYPE_CHECKING:
    from conftest import HostPack

FIELDS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=lambda blueprint: blueprint.workflow)
def test_fields_are_where_comfyui_has_them(host: HostPack, blueprint: Blueprint) -> None:
    """A field's value is at its own place among the node's saved values, and its type is the node's."""
    file = fold(blueprint)
    outer, (subgraph,) = file["nodes"][0], file["definitions"]["subgraphs"]
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    links = {link["id"]: link for link in subgraph["links"]}
    fields = [each for each in outer["inputs"] if "widget" in each]
    for field, value in zip(fields, outer["widgets_values"], strict=True):
        (inner,) = (each for each in subgraph["inputs"] if each["name"] == field["name"])
        link = links[inner["linkIds"][0]]
        node = nodes[link["target_id"]]
        name = node["inputs"][link["target_slot"]]["name"]
        kinds = inputs(host.node(node["type"]))
        assert field["type"] == kinds[name]
        saved = [key for key, kind in kinds.items() if kind in FIELDS]
        if node["type"] == "KSampler":
            saved.insert(saved.index("seed") + 1, "what happens to it after a run")
        assert node["widgets_values"][saved.index(name)] == value


def inputs(node: Any) -> dict[str, str]:
    """The type of each of a node's inputs, in order."""
    groups = node.GET_NODE_INFO_V1()["input"] if hasattr(node, "GET_NODE_INFO_V1") else node.INPUT_TYPES()
    given = {**groups["required"], **groups.get("optional", {})}
    return {name: "COMBO" if isinstance(kind, list) else str(kind) for name, (kind, *_) in given.items()}
