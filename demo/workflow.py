"""Bundled workflows as prompts: what the interface does when Run is pressed, without a browser.

A workflow is what the interface saves (nodes with positions, titles and lists of widget values); a prompt is what
``/prompt`` executes (inputs by name). `to_prompt` converts one into the other with ComfyUI's own description of its
nodes; `set_value` then changes what is to differ from run to run, by the title that a person sees on the node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"

Prompt = dict[str, dict[str, Any]]
"""ComfyUI's API form: node id → ``{"class_type", "inputs", "_meta": {"title"}}``."""

_MUTED, _BYPASSED = 2, 4  # a node's "mode" in the interface
_NOTES = frozenset({"Note", "MarkdownNote"})
_REROUTE, _PRIMITIVE = "Reroute", "PrimitiveNode"
_INTERFACE_ONLY = _NOTES | {_REROUTE, _PRIMITIVE}
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "INT": ((int,), "a whole number"),
    "FLOAT": ((int, float), "a number"),
    "STRING": ((str,), "text"),
    "BOOLEAN": ((bool,), "true or false"),
    "COMBO": ((str, int, float, bool, list), "a choice"),
}
_SAVE_AGAIN = "It was saved with another version of the node: open it in ComfyUI, check the node, and save it again."


class WorkflowError(ValueError):
    """A workflow cannot be read or converted, or a prompt has no such node or input."""


@dataclass(frozen=True)
class _Link:
    """From an output to an input. A node's input names the link, so the target need not be kept."""

    origin: str
    slot: int
    type: str


@dataclass(frozen=True)
class _Output:
    """What an input is connected to, past everything that exists only in the interface."""

    node: str
    slot: int


@dataclass(frozen=True)
class _Value:
    """What a connected primitive node holds."""

    value: Any


@dataclass(frozen=True)
class _Widget:
    """An input that the interface edits on the node."""

    name: str
    kind: str
    controlled: bool
    """The interface keeps a second value for it: fixed, increment, decrement or randomize."""


def load(name: str | Path) -> dict[str, Any]:
    """Read a workflow: a path, or the name of a bundled one such as ``quickstart``.

    Raises:
        WorkflowError: if there is none.
    """
    path = Path(name)
    if path.suffix != ".json":
        path = WORKFLOWS / f"{name}.json"
    try:
        workflow = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        bundled = ", ".join(sorted(each.stem for each in WORKFLOWS.glob("*.json")))
        raise WorkflowError(f"There is no workflow {str(path)!r} ({error.strerror}); bundled are {bundled}.") from error
    except ValueError as error:
        raise WorkflowError(f"{path} is not a JSON file ({error}). Save the workflow again.") from error
    if not isinstance(workflow, dict) or not isinstance(workflow.get("nodes"), list):
        raise WorkflowError(
            f"{path} is not a workflow: it has no list of nodes. Save it with 'Save' (not 'Export (API)') in ComfyUI."
        )
    return workflow


def to_prompt(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> Prompt:
    """Convert a workflow to the prompt that the interface would send for it.

    Notes are left out; reroutes, primitive nodes and bypassed nodes are resolved to what is connected to them; muted nodes
    are left out together with the connections from them. Texts are passed on as they are, without ``{a|b}`` choices.

    Args:
        workflow: in the interface's format, version 0.4 (links as lists) or 1.0 (links as objects).
        object_info: ComfyUI's answer to ``/object_info``.

    Raises:
        WorkflowError: if ComfyUI does not know a node, or a value does not belong to its node.
    """
    graph = _Graph(workflow)
    unknown = sorted(
        {node["type"] for node in graph.nodes.values() if node["type"] not in {*object_info, *_INTERFACE_ONLY}}
    )
    if unknown:
        raise WorkflowError(
            f"ComfyUI does not know {', '.join(unknown)}. Install the node packs that they belong to (if one of ours, see "
            "ComfyUI's log for why the pack did not load); unpack subgraphs, which have long hexadecimal names."
        )
    return {
        node_id: {
            "inputs": _inputs(node, graph, object_info[node["type"]]),
            "class_type": node["type"],
            "_meta": {"title": node.get("title") or object_info[node["type"]].get("display_name") or node["type"]},
        }
        for node_id, node in graph.nodes.items()
        if graph.is_executed(node)
    }


def require_node(workflow: Mapping[str, Any], node: str) -> None:
    """Check, without ComfyUI, that a workflow has a node to work on and no subgraphs.

    Whether ComfyUI knows all nodes is only known once it runs: `to_prompt` says so.

    Args:
        node: as in `find_node`.

    Raises:
        WorkflowError: if it has none or several such nodes, or has subgraphs.
    """
    graph = _Graph(workflow)
    subgraphs = {each["id"]: each for each in (workflow.get("definitions") or {}).get("subgraphs", [])}
    used = sorted(
        {subgraphs[each["type"]].get("name", "") for each in graph.nodes.values() if each["type"] in subgraphs}
    )
    if used:
        raise WorkflowError(
            f"The workflow has subgraphs ({', '.join(used)}). Unpack them in ComfyUI, and save it again."
        )
    entries = {
        node_id: {"class_type": each["type"], "_meta": {"title": each.get("title")}}
        for node_id, each in graph.nodes.items()
        if graph.is_executed(each)
    }
    find_node(entries, node)


def find_node(prompt: Mapping[str, Any], node: str) -> str:
    """The id of the one node with this title, or else of this class.

    Raises:
        WorkflowError: if there is none, or more than one.
    """
    for label in (_title, _class):
        found = [node_id for node_id, entry in prompt.items() if label(entry) == node]
        if len(found) > 1:
            raise WorkflowError(
                f"{len(found)} nodes are called {node!r} ({', '.join(found)}). Give the one you mean a title of its own."
            )
        if found:
            return found[0]
    titles = ", ".join(sorted({_title(entry) for entry in prompt.values()}))
    raise WorkflowError(f"No node has the title or class {node!r}; there are {titles}.")


def set_value(prompt: Prompt, node: str, name: str, value: Any) -> None:
    """Give an input of a node another value, in place. What was connected to it is disconnected.

    Args:
        prompt: from `to_prompt`.
        node: the node's title or class.
        name: the input's name.
        value: what the node takes; ``[id, slot]`` connects an output (see `find_node` for the id).

    Raises:
        WorkflowError: if there is no such node, or it has no such input.
    """
    entry = prompt[find_node(prompt, node)]
    if name not in entry["inputs"]:
        raise WorkflowError(f"{node!r} has no input {name!r}; it has {', '.join(entry['inputs']) or 'none'}.")
    entry["inputs"][name] = value


# --- the graph ------------------------------------------------------------------------------------------------------


class _Graph:
    """Nodes by id, and where their connections come from."""

    def __init__(self, workflow: Mapping[str, Any]) -> None:
        self.nodes: dict[str, Mapping[str, Any]] = {str(node["id"]): node for node in workflow.get("nodes", [])}
        self._links = dict(map(_read_link, workflow.get("links", [])))

    def is_executed(self, node: Mapping[str, Any]) -> bool:
        return node["type"] not in _INTERFACE_ONLY and node.get("mode", 0) not in (_MUTED, _BYPASSED)

    def source(self, link_id: int, seen: Sequence[int] = ()) -> _Output | _Value | None:
        """What a link brings; None if it leads to nothing."""
        link = self._links.get(link_id)
        origin = self.nodes.get(link.origin) if link else None
        if link is None or origin is None:
            raise WorkflowError(
                f"Connection {link_id} comes from nowhere. Open the workflow in ComfyUI and save it again."
            )
        if link_id in seen:
            raise WorkflowError(f"Connection {link_id} leads back to itself through {_label(origin)}. Take one out.")
        if origin["type"] == _PRIMITIVE:
            values = origin.get("widgets_values")
            if not values:
                raise WorkflowError(f"{_label(origin)} holds no value. Give it one, or take it out.")
            return _Value(values[0])
        if origin["type"] == _REROUTE or origin.get("mode", 0) == _BYPASSED:
            passed = _passed_through(origin, link)
            return None if passed is None else self.source(passed, [*seen, link_id])
        return _Output(link.origin, link.slot)


def _read_link(link: Any) -> tuple[int, _Link]:
    if isinstance(link, Mapping):
        return link["id"], _Link(str(link["origin_id"]), int(link["origin_slot"]), str(link["type"]))
    link_id, origin, slot, _target, _target_slot, kind = link[:6]
    return link_id, _Link(str(origin), int(slot), str(kind))


def _passed_through(node: Mapping[str, Any], link: _Link) -> int | None:
    """The link into a node that stands in for the link out of it, chosen as the interface chooses."""
    slots = node.get("inputs") or []
    if node["type"] == _REROUTE:
        return slots[0].get("link") if slots else None
    same_place = slots[link.slot : link.slot + 1]
    fitting = [slot for slot in [*same_place, *slots] if slot.get("type") == link.type]
    return fitting[0].get("link") if fitting else None


# --- the inputs of a node -------------------------------------------------------------------------------------------


def _inputs(node: Mapping[str, Any], graph: _Graph, info: Mapping[str, Any]) -> dict[str, Any]:
    found = _widget_values(node, info)
    for slot in node.get("inputs") or []:
        name, link_id = slot["name"], slot.get("link")
        if link_id is None:
            continue
        if name not in {*_specs(info)}:
            raise WorkflowError(f"{_label(node)} has no input {name!r}. {_SAVE_AGAIN}")
        match graph.source(link_id):
            case _Value(value):
                found[name] = _wrapped(value)
            case _Output(origin, place) if graph.is_executed(graph.nodes[origin]):
                found[name] = [origin, place]
            case _Output():  # of a muted node
                found.pop(name, None)
    return found


def _widget_values(node: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    widgets = list(_widgets(info))
    saved = node.get("widgets_values") or []
    if not isinstance(saved, Mapping):
        saved = _by_name(node, saved, widgets, info)
    values: dict[str, Any] = {}
    for widget in widgets:
        if widget.name in saved:
            _check(node, widget, saved[widget.name])
            values[widget.name] = _wrapped(saved[widget.name])
    return values


def _by_name(
    node: Mapping[str, Any], saved: Sequence[Any], widgets: Sequence[_Widget], info: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of the saved list by their widgets' names.

    There are exactly as many as there are widgets, but for optional ones at the end: they came after the workflow was saved.
    """
    places: list[str | None] = []
    for widget in widgets:
        places += [widget.name, None] if widget.controlled else [widget.name]
    while len(saved) < len(places) and places[-1] in info["input"].get("optional", {}):
        places.pop()
    # some versions of the interface also save the upload button after a file's choice
    if len(saved) == len(places) + 1 and _has_upload_button(info):
        places.append(None)
    if len(saved) != len(places):
        raise WorkflowError(
            f"{_label(node)} has {len(saved)} saved values, expected {len(places)} "
            f"({', '.join(widget.name for widget in widgets)}). {_SAVE_AGAIN}"
        )
    return {name: value for name, value in zip(places, saved, strict=True) if name is not None}


def _specs(info: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Input name → ``[type, options]``, in the order in which the interface shows them."""
    order = info.get("input_order") or {group: list(specs) for group, specs in info["input"].items()}
    return {name: info["input"][group][name] for group in ("required", "optional") for name in order.get(group, [])}


def _widgets(info: Mapping[str, Any]) -> Iterator[_Widget]:
    for name, (kind, *rest) in _specs(info).items():
        options: Mapping[str, Any] = (rest[0] if rest else None) or {}
        kind = "COMBO" if isinstance(kind, list) else kind
        if kind in _KINDS and not options.get("forceInput"):
            yield _Widget(name, kind, _is_controlled(name, kind, options))


def _is_controlled(name: str, kind: str, options: Mapping[str, Any]) -> bool:
    declared = options.get("control_after_generate")
    if declared is None:  # by its name alone, as in the interface
        return kind == "INT" and name in ("seed", "noise_seed")
    return bool(declared) and kind in ("INT", "COMBO")


def _has_upload_button(info: Mapping[str, Any]) -> bool:
    flags = ("image_upload", "video_upload", "animated_image_upload")
    return any((rest[0] or {}).get(flag) for _, *rest in _specs(info).values() if rest for flag in flags)


def _check(node: Mapping[str, Any], widget: _Widget, value: Any) -> None:
    types, expected = _KINDS[widget.kind]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise WorkflowError(f"{_label(node)} has {value!r} for {widget.name!r}, expected {expected}. {_SAVE_AGAIN}")


def _wrapped(value: Any) -> Any:
    # a bare list in a prompt is a connection; ComfyUI unwraps this one again
    return {"__value__": value} if isinstance(value, list) else value


def _label(node: Mapping[str, Any]) -> str:
    title = node.get("title")
    return f"Node {node['id']} ({node['type']}{f', {title!r}' if title else ''})"


def _title(entry: Mapping[str, Any]) -> str:
    return entry.get("_meta", {}).get("title") or entry["class_type"]


def _class(entry: Mapping[str, Any]) -> str:
    return entry["class_type"]
