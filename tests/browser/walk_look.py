"""What a walk looks at after every action: the screen, the nodes' values, the prompt, and where they differ."""

from __future__ import annotations

from typing import Any

from incontext_lora.incontext.errors import LayoutError
from incontext_lora.incontext.panels.arrange import panel_layout

LAYOUT, STITCH, CAPTION = "InContextLayout", "InContextStitchPanels", "InContextJointCaption"

LOOK = """async () => {
    const { left, top } = app.canvas.canvas.getBoundingClientRect();
    const { scale, offset } = app.canvas.ds;
    const at = ([x, y]) => [(x + offset[0]) * scale + left, (y + offset[1]) * scale + top];
    const isLinked = (node, name) => node.inputs?.some(input => input.name === name && input.link != null) ?? false;
    const hostFolds = app.extensionManager.setting.get("Comfy.Node.AlwaysShowAdvancedWidgets") === false;
    const isFolded = (node, widget) =>
        hostFolds && widget.options?.advanced && !node.showAdvanced && !isLinked(node, widget.name);
    const nodes = app.canvas.graph.nodes.map(node => ({
        id: String(node.id), type: node.type, mode: node.mode, collapsed: Boolean(node.flags?.collapsed),
        corner: at(node.pos), size: [node.size[0] * scale, node.size[1] * scale],
        values: Object.fromEntries((node.widgets ?? []).map(widget => [widget.name, widget.value])),
        linked: (node.widgets ?? []).map(widget => widget.name).filter(name => isLinked(node, name)),
        shown: (node.widgets ?? []).filter(widget => !widget.hidden && !widget.options?.hidden && !isFolded(node, widget)).length,
        rows: document.querySelectorAll(`[data-node-id="${node.id}"] .lg-node-widget`).length,
        isPlain: node.properties.incontext_plain_fields === true,
    }));
    const isSeen = element => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
    const elements = [...document.querySelectorAll(".incontext-picture, .incontext-caption")].filter(isSeen).map(element => {
        const box = element.getBoundingClientRect();
        return {
            node: element.closest("[data-node-id]")?.dataset.nodeId, // in Nodes 2.0
            kind: element.classList.contains("incontext-picture") ? "picture" : "caption",
            middle: [box.x + box.width / 2, box.y + box.height / 2],
            fields: [...element.querySelectorAll("textarea")].map(area => {
                const place = area.getBoundingClientRect();
                return { name: area.dataset.field, text: area.value, disabled: area.disabled,
                    middle: [place.x + place.width / 2, place.y + place.height / 2] };
            }),
            sizes: [...element.querySelectorAll(".incontext-size")].map(size => size.textContent),
            border: (border => border && [border.x + border.width / 2, border.y + border.height / 2])(
                element.querySelector(".incontext-border")?.getBoundingClientRect()),
            plain: (button => button && [button.x + button.width / 2, button.y + button.height / 2])(
                element.querySelector(".incontext-plain")?.getBoundingClientRect()),
            problem: element.querySelector(".incontext-foot.incontext-problem")?.textContent ?? "",
        };
    });
    const { graph } = app.canvas, root = graph.rootGraph ?? graph;
    const doors = root.nodes.filter(node => graph !== root && node.subgraph === graph).map(node => `${node.id}:`);
    return { nodes, elements, prompt: (await app.graphToPrompt()).output,
        inside: graph !== root, paths: graph === root ? [""] : doors };
}"""


def differences(look: dict[str, Any], is_vue: bool) -> list[str]:
    """Where the screen, the nodes' values and the prompt differ."""
    found: list[str] = []
    elements = list(look["elements"])
    for node in look["nodes"]:
        if node["type"] not in (LAYOUT, STITCH, CAPTION):
            continue
        name = f"{node['type']} {node['id']}"
        within = [element for element in elements if _lies_on(element, node)]
        elements = [element for element in elements if element not in within]
        if node["collapsed"]:
            if within:
                found.append(f"{name} is collapsed and shows {len(within)} elements")
            continue
        if len(within) != 1:
            found.append(f"{name} shows {len(within)} elements, not one")
            continue
        if is_vue and node["rows"] != node["shown"]:
            found.append(f"{name} has {node['shown']} widgets to show and shows {node['rows']}")
        sent = _sent(look["prompt"], [path + node["id"] for path in look["paths"]])
        source = _source(look["prompt"], sent, "recipe" if node["type"] == CAPTION else "layout") if sent else None
        if node["type"] == LAYOUT:
            found += _picture_differences(name, within[0], node["values"])
        elif node["type"] == STITCH and source is not None:
            found += _picture_differences(name, within[0], source)
        elif node["type"] == CAPTION:
            found += _caption_differences(name, within[0], node, sent, source)
        if sent is not None:
            for widget, value in sent.items():
                if widget in node["values"] and not isinstance(value, list) and value != node["values"][widget]:
                    found.append(f"{name} has {node['values'][widget]!r} as {widget} and sends {value!r}")
    return [*found, *(f"a {element['kind']} lies on no node" for element in elements)]


def _lies_on(element: dict[str, Any], node: dict[str, Any]) -> bool:
    if element["node"] is not None:
        return element["node"] == node["id"]
    (x, y), (left, top), (width, height) = element["middle"], node["corner"], node["size"]
    return left <= x <= left + width and top <= y <= top + height


def _sent(prompt: dict[str, Any], keys: list[str]) -> dict[str, Any] | None:
    """The inputs that are sent for a node of the graph on display; None where it does not take part, or in two subgraphs.

    Args:
        keys: by which the prompt names it: its id, behind that of the subgraph's node, as in ``5:7``. Nodes of other
            graphs may have the same id.
    """
    present = [key for key in keys if key in prompt]
    return prompt[present[0]]["inputs"] if len(present) == 1 else None


def _source(prompt: dict[str, Any], sent: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The inputs of the Panel Layout that is connected to an input; None where there is none."""
    link = sent.get(name)
    origin = prompt.get(str(link[0])) if isinstance(link, list) else None
    return origin["inputs"] if origin and origin["class_type"] == LAYOUT else None


def _layout(values: dict[str, Any]) -> Any:
    names = ("kind", "width", "height", "rows", "columns", "columns_per_row", "gutter", "panel_step", "boxes", "names")
    try:
        return panel_layout(**{name: values[name] for name in names})
    except LayoutError:
        return None


def _picture_differences(name: str, element: dict[str, Any], values: dict[str, Any]) -> list[str]:
    layout = _layout(values)
    if layout is None:
        return [] if element["problem"] else [f"{name} shows no problem, but its layout is impossible"]
    expected = [f"{box.width} × {box.height}" for box in layout.boxes]
    return [] if element["sizes"] == expected else [f"{name} shows {element['sizes']}, and it is {expected}"]


def _caption_differences(
    name: str,
    element: dict[str, Any],
    node: dict[str, Any],
    sent: dict[str, Any] | None,
    source: dict[str, Any] | None,
) -> list[str]:
    found = []
    layout = _layout(source) if source else None
    if layout is not None and len(element["fields"]) != 1 + len(layout):
        found.append(f"{name} shows {len(element['fields'])} fields for {len(layout)} panels")
    for area in element["fields"]:
        if area["name"] in node["linked"]:
            if not area["disabled"] or area["text"]:
                found.append(f"{name} shows {area['text']!r} in {area['name']}, which another node gives")
            continue
        if area["text"] != node["values"].get(area["name"]):
            found.append(
                f"{name} shows {area['text']!r} as {area['name']} and has {node['values'].get(area['name'])!r}"
            )
        if sent is not None and not isinstance(sent.get(area["name"]), list) and area["text"] != sent.get(area["name"]):
            found.append(f"{name} shows {area['text']!r} as {area['name']} and sends {sent.get(area['name'])!r}")
    return found
