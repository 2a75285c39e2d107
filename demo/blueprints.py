"""Subgraph blueprints, made of the bundled workflows: a whole task as one node of ComfyUI's node library.

    python -m demo.blueprints      writes subgraphs/*.json

A blueprint takes some nodes of a workflow. What they get from the nodes that are left out becomes its inputs; fields that
people set each time are brought to its face.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .workflow import load

SUBGRAPHS = Path(__file__).resolve().parent.parent / "subgraphs"
_INPUT, _OUTPUT = -10, -20  # as ComfyUI numbers a subgraph's borders
_NAMESPACE = uuid.UUID("3f6c1c52-6f0e-5a1f-9c1f-0d1d4f3b7a10")
_LINE = 20


@dataclass(frozen=True)
class Face:
    """One input or output of a blueprint.

    Attributes:
        name: on the blueprint.
        node: the type, or title, of the node that it stands for; for inputs without a field, of the node that is left out.
        slot: that node's field or output.
    """

    name: str
    node: str
    slot: str


@dataclass(frozen=True)
class Blueprint:
    """What to take from which workflow."""

    title: str
    description: str
    workflow: str
    left_out: tuple[str, ...]
    sockets: tuple[Face, ...]
    fields: tuple[Face, ...]
    outputs: tuple[Face, ...]


_MODELS = (
    Face("model", "UNETLoader", "MODEL"),
    Face("clip", "CLIPLoader", "CLIP"),
    Face("vae", "VAELoader", "VAE"),
)
_LOADERS = (
    "UNETLoader",
    "CLIPLoader",
    "VAELoader",
    "MarkdownNote",
    "PreviewAny",
    "PreviewImage",
    "SaveImage",
    "LossGraphNode",
)
_TEXTS = tuple(Face(name, "InContextJointCaption", name) for name in ("summary", "panel_1", "panel_2", "panel_3"))
_LORA = (
    Face("lora_name", "InContextLoadLora", "lora_name"),
    Face("strength", "InContextLoadLora", "strength"),
)
_SAMPLER = tuple(Face(name, "KSampler", name) for name in ("seed", "steps", "cfg"))
_PANELS = (Face("panels", "InContextSplitPanels", "panels"), Face("set", "VAEDecode", "IMAGE"))

BLUEPRINTS = (
    Blueprint(
        "In-Context LoRA - Make a set",
        "Makes a set of matching panels from one joint caption with an In-Context LoRA that carries its recipe.",
        "quickstart",
        _LOADERS,
        _MODELS,
        (*_LORA, *_TEXTS, *_SAMPLER),
        _PANELS,
    ),
    Blueprint(
        "In-Context LoRA - Paint to a reference",
        "Takes one picture as the first panel and paints the others to match it.",
        "reference-panel",
        (*_LOADERS, "LoadImage"),
        (*_MODELS, Face("reference", "LoadImage", "IMAGE")),
        (*_LORA, *_TEXTS, *_SAMPLER),
        (Face("painted", "InContextSplitPanels", "generated"), *_PANELS),
    ),
    Blueprint(
        "In-Context LoRA - Train",
        "Builds a dataset from a folder of picture sets and trains an In-Context LoRA on the loaded model.",
        "train-in-host",
        (*_LOADERS, "InContextLayout"),
        (*_MODELS, Face("recipe", "InContextLayout", "recipe")),
        (
            Face("folder", "InContextBuildDataset", "folder"),
            *(
                Face(name, "InContextTrainLoraInHost", name)
                for name in ("name", "steps", "batch_size", "learning_rate", "rank")
            ),
        ),
        (
            Face("lora_name", "InContextTrainLoraInHost", "lora_name"),
            Face("samples", "InContextTrainLoraInHost", "samples"),
            Face("loss_map", "InContextTrainLoraInHost", "loss_map"),
        ),
    ),
)


def fold(blueprint: Blueprint) -> dict[str, Any]:
    """A blueprint in the form that ComfyUI reads: a workflow of one node, and that node's definition."""
    workflow = load(blueprint.workflow)
    inner = [node for node in workflow["nodes"] if node["type"] not in blueprint.left_out]
    links = _Links(workflow, {node["id"] for node in inner})
    inputs = [links.socket(face, _node(workflow["nodes"], face.node)) for face in blueprint.sockets]
    values = []
    for face in blueprint.fields:
        node = _node(inner, face.node)
        inputs.append(links.field(face, node))
        values.append(_value(node, face.slot))
    outputs = [links.output(face, _node(inner, face.node)) for face in blueprint.outputs]
    identity = str(uuid.uuid5(_NAMESPACE, blueprint.title))
    for node in inner:
        for slot in node["outputs"]:
            slot["links"] = [link["id"] for link in links.kept if _is_from(link, node, slot)] or None
    left, top, right = _extent(inner)
    definition = {
        "id": identity,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": workflow["last_node_id"],
            "lastLinkId": links.last,
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.title,
        "inputNode": {"id": _INPUT, "bounding": [left - 260, top, 160, 40 + _LINE * len(inputs)]},
        "outputNode": {"id": _OUTPUT, "bounding": [right + 100, top, 160, 40 + _LINE * len(outputs)]},
        "inputs": [{**each, "pos": [left - 120, top + 20 + _LINE * row]} for row, each in enumerate(inputs)],
        "outputs": [{**each, "pos": [right + 120, top + 20 + _LINE * row]} for row, each in enumerate(outputs)],
        "widgets": [],
        "nodes": inner,
        "groups": [],
        "links": links.kept,
        "extra": {"workflowRendererVersion": "LG"},
        "category": "In-Context LoRA",
        "description": blueprint.description,
    }
    fields = {face.name for face in blueprint.fields}
    outer = {
        "id": 1,
        "type": identity,
        "pos": [0, 0],
        "size": [340, 120 + 26 * len(inputs)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": each["name"], "type": each["type"], "link": None}
            | ({"widget": {"name": each["name"]}} if each["name"] in fields else {})
            for each in inputs
        ],
        "outputs": [{"name": each["name"], "type": each["type"], "links": None} for each in outputs],
        "title": blueprint.title,
        "properties": {"proxyWidgets": [["-1", face.name] for face in blueprint.fields]},
        "widgets_values": values,
    }
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [outer],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {"BlueprintDescription": blueprint.description},
    }


class _Links:
    """The links of a subgraph: those among its nodes, and those across its borders."""

    def __init__(self, workflow: Mapping[str, Any], members: set[int]) -> None:
        self._all = workflow["links"]
        self._members = members
        self.last = workflow["last_link_id"]
        self._inputs = self._outputs = 0
        self.kept = [
            _link(number, origin, slot, target, target_slot, kind)
            for number, origin, slot, target, target_slot, kind in self._all
            if {origin, target} <= members
        ]

    def socket(self, face: Face, left_out: Mapping[str, Any]) -> dict[str, Any]:
        """What a node that is left out gives to those that are taken."""
        slot = next(place for place, each in enumerate(left_out["outputs"]) if each["name"] == face.slot)
        crossing = [
            link for link in self._all if link[1] == left_out["id"] and link[2] == slot and link[3] in self._members
        ]
        for number, _, _, target, target_slot, kind in crossing:
            self.kept.append(_link(number, _INPUT, self._inputs, target, target_slot, kind))
        return self._input(face, left_out["outputs"][slot]["type"], [link[0] for link in crossing])

    def field(self, face: Face, node: dict[str, Any]) -> dict[str, Any]:
        """A node's field, brought to the face."""
        slots = node["inputs"]
        place = next((place for place, each in enumerate(slots) if each["name"] == face.slot), None)
        if place is None:
            slots.append(
                {"name": face.slot, "type": _kind(node, face.slot), "widget": {"name": face.slot}, "link": None}
            )
            place = len(slots) - 1
        self.last += 1
        slots[place]["link"] = self.last
        self.kept.append(_link(self.last, _INPUT, self._inputs, node["id"], place, slots[place]["type"]))
        return self._input(face, slots[place]["type"], [self.last])

    def output(self, face: Face, node: Mapping[str, Any]) -> dict[str, Any]:
        slot = next(place for place, each in enumerate(node["outputs"]) if each["name"] == face.slot)
        kind = node["outputs"][slot]["type"]
        self.last += 1
        self.kept.append(_link(self.last, node["id"], slot, _OUTPUT, self._outputs, kind))
        self._outputs += 1
        return {"id": _identity("output", face.name), "name": face.name, "type": kind, "linkIds": [self.last]}

    def _input(self, face: Face, kind: str, link_ids: Sequence[int]) -> dict[str, Any]:
        self._inputs += 1
        return {"id": _identity("input", face.name), "name": face.name, "type": kind, "linkIds": list(link_ids)}


def _link(number: int, origin: int, slot: int, target: int, target_slot: int, kind: str) -> dict[str, Any]:
    return {
        "id": number,
        "origin_id": origin,
        "origin_slot": slot,
        "target_id": target,
        "target_slot": target_slot,
        "type": kind,
    }


def _is_from(link: Mapping[str, Any], node: Mapping[str, Any], slot: Mapping[str, Any]) -> bool:
    return link["origin_id"] == node["id"] and node["outputs"][link["origin_slot"]] is slot


def _node(nodes: Sequence[dict[str, Any]], wanted: str) -> dict[str, Any]:
    (node,) = (each for each in nodes if wanted in (each["type"], each.get("title")))
    return node


# places and types of fields; the test holds them against ComfyUI's own description of the nodes
_FIELDS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "InContextLoadLora": {"lora_name": (0, "COMBO"), "strength": (1, "FLOAT")},
    "InContextJointCaption": {
        name: (place, "STRING") for place, name in enumerate(("summary", "panel_1", "panel_2", "panel_3"))
    },
    "KSampler": {"seed": (0, "INT"), "steps": (2, "INT"), "cfg": (3, "FLOAT")},
    "InContextBuildDataset": {"folder": (0, "STRING")},
    "InContextTrainLoraInHost": {
        "name": (0, "STRING"),
        "steps": (1, "INT"),
        "batch_size": (2, "INT"),
        "learning_rate": (4, "FLOAT"),
        "rank": (7, "INT"),
    },
}


def _kind(node: Mapping[str, Any], field: str) -> str:
    return _FIELDS[node["type"]][field][1]


def _value(node: Mapping[str, Any], field: str) -> Any:
    return node["widgets_values"][_FIELDS[node["type"]][field][0]]


def _extent(nodes: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
    return (
        min(node["pos"][0] for node in nodes),
        min(node["pos"][1] for node in nodes),
        max(node["pos"][0] + node["size"][0] for node in nodes),
    )


def _identity(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))


def text(blueprint: Blueprint) -> str:
    """A blueprint's file."""
    return json.dumps(fold(blueprint), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    SUBGRAPHS.mkdir(exist_ok=True)
    for blueprint in BLUEPRINTS:
        (SUBGRAPHS / f"{blueprint.title}.json").write_text(text(blueprint), encoding="utf-8")


if __name__ == "__main__":
    main()
