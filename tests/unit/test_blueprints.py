"""Subgraph blueprints as files: what ComfyUI's loader and its schema ask of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from incontext_lora.demo import blueprints
from incontext_lora.demo.blueprints import BLUEPRINTS, SUBGRAPHS, Blueprint


@pytest.fixture(params=BLUEPRINTS, ids=lambda blueprint: blueprint.workflow)
def blueprint(request: pytest.FixtureRequest) -> Blueprint:
    return request.param


@pytest.fixture
def file(blueprint: Blueprint) -> dict[str, Any]:
    return json.loads((SUBGRAPHS / f"{blueprint.title}.json").read_text(encoding="utf-8"))


def definition(file: Mapping[str, Any]) -> dict[str, Any]:
    (subgraph,) = file["definitions"]["subgraphs"]
    return subgraph


def test_only_blueprints_are_in_the_folder_and_they_are_current() -> None:
    """ComfyUI offers every JSON file of the folder; `python -m demo.blueprints` writes them."""
    assert {path.name for path in SUBGRAPHS.iterdir()} == {f"{each.title}.json" for each in BLUEPRINTS}
    for each in BLUEPRINTS:
        assert (SUBGRAPHS / f"{each.title}.json").read_text(encoding="utf-8") == blueprints.text(each), each.title


def test_the_outer_graph_is_one_node_of_the_subgraph(file: dict[str, Any]) -> None:
    (outer,) = file["nodes"]
    assert outer["type"] == definition(file)["id"]
    for side in ("inputs", "outputs"):
        shown = [(each["name"], each["type"]) for each in outer[side]]
        assert shown == [(each["name"], each["type"]) for each in definition(file)[side]]
        assert len({name for name, _ in shown}) == len(shown)
    assert len(outer["widgets_values"]) == sum("widget" in each for each in outer["inputs"])


def test_both_ends_of_every_link_agree(file: dict[str, Any]) -> None:
    subgraph = definition(file)
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    links = {link["id"]: link for link in subgraph["links"]}
    assert len(links) == len(subgraph["links"])
    for link in subgraph["links"]:
        origin, target = link["origin_id"], link["target_id"]
        if origin == -10:
            assert link["id"] in subgraph["inputs"][link["origin_slot"]]["linkIds"]
        else:
            assert link["id"] in (nodes[origin]["outputs"][link["origin_slot"]]["links"] or [])
        if target == -20:
            assert link["id"] in subgraph["outputs"][link["target_slot"]]["linkIds"]
        else:
            assert nodes[target]["inputs"][link["target_slot"]]["link"] == link["id"]
    for node in nodes.values():
        for taken in node["inputs"]:
            assert taken["link"] is None or taken["link"] in links, (
                f"{node['type']}.{taken['name']} leads out of the subgraph"
            )
    assert all(each["linkIds"] for each in subgraph["inputs"]), "an input that leads nowhere"
