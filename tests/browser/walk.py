"""A person at random: many actions on layouts, stitching and captions, and after each a look whether the screen, the nodes'
values and the prompt still say the same.

`Walk` draws its actions from a seed, so that a walk that fails can be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from incontext_lora.tests.browser.walk_look import CAPTION, LAYOUT, LOOK, STITCH, differences

if TYPE_CHECKING:
    from incontext_lora.tests.browser.conftest import Interface

PATIENCE = 40  # looks, 50 ms apart, until a difference is one
MOST_NODES = 9
COLUMNS = 5
WIDTH, HEIGHT = 560, 900  # of a place for a node, in the canvas' own units

# Nodes side by side (Nodes 2.0 do not follow a position that is set, so pasted ones go to a free place), all of them in view.
TIDY = """([columns, width, height]) => {
    const { nodes } = app.canvas.graph;
    if (!LiteGraph.vueNodesMode) nodes.forEach((node, index) => {
        node.pos = [(index % columns) * width, Math.floor(index / columns) * height];
    });
    const [left, top, right, bottom] = [
        Math.min(...nodes.map(node => node.pos[0])), Math.min(...nodes.map(node => node.pos[1])) - 40,
        Math.max(...nodes.map(node => node.pos[0] + node.size[0])), Math.max(...nodes.map(node => node.pos[1] + node.size[1])),
    ];
    app.canvas.deselectAll();
    app.canvas.ds.scale = Math.min(0.6, 1350 / (right - left), 820 / (bottom - top));
    app.canvas.ds.offset[0] = 110 / app.canvas.ds.scale - left;
    app.canvas.ds.offset[1] = 110 / app.canvas.ds.scale - top;
    app.canvas.setDirty(true, true) }"""


@dataclass
class Walk:
    """One walk; `mismatches` says where screen, values and prompt differed, and after which action."""

    interface: Interface
    seed: int
    mismatches: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._seen: dict[str, Any] = {}
        self._is_vue = self.interface.renderer == "nodes-2.0"
        self._typed = 0
        self._deeds: list[tuple[int, Callable[[], str | None]]] = [
            (8, self._type),
            (6, self._change_layout),
            (4, self._drag),
            (8, self._undo),
            (4, self._redo),
            (3, self._switch_tab),
            (3, self._copy),
            (2, self._delete),
            (2, self._collapse),
            (3, self._change_mode),
            (2, self._toggle_plain),
            (2, self._relink),
            (3, self._convert),
            (4, self._cross_border),
            (1, self._unpack),
            (1, self._load_again),
            (1, self._refresh),
            (1, self._paste_caption),
        ]

    def begin(self) -> None:
        """Two workflows on two tabs, each with a layout, its stitching and its caption."""
        self._build()
        self._command("Comfy.NewBlankWorkflow")
        self.interface.page.wait_for_function("() => app.graph.nodes.length === 0")
        self._build()
        self.tidy()
        self.compare()

    def go(self, steps: int) -> None:
        """Do that many things; stops at the first mismatch, since all that follows would repeat it."""
        while len(self.actions) < steps and not self.mismatches:
            weights, deeds = zip(*self._deeds, strict=True)
            deed = self._random.choices(deeds, weights)[0]
            told = deed()
            if told is None:
                continue
            self.actions.append(told)
            self.tidy()
            self.mismatches += [f"after {len(self.actions)}. {told}: {found}" for found in self.compare()]

    def tidy(self) -> None:
        self.interface.page.evaluate(TIDY, [COLUMNS, WIDTH, HEIGHT])
        self.interface.settle()

    # --- what is compared ----------------------------------------------------------------------------------------------

    def compare(self) -> list[str]:
        """What differs between the screen, the values and the prompt; waits a moment for what is still under way."""
        found: list[str] = []
        for _ in range(PATIENCE):
            self._seen = self.look()
            found = differences(self._seen, self._is_vue)
            if not found:
                break
            self.interface.page.wait_for_timeout(50)
        return found

    def look(self) -> dict[str, Any]:
        return self.interface.page.evaluate(LOOK)

    # --- what a person does: each says what it did, or None where there was nothing to do it with --------------------------

    def _build(self) -> None:
        layout = self.interface.add(LAYOUT)
        stitch = self.interface.add(STITCH, WIDTH)
        caption = self.interface.add(CAPTION, 2 * WIDTH)
        self.interface.connect(layout, "layout", stitch, "layout")
        self.interface.connect(layout, "recipe", caption, "recipe")

    def _command(self, name: str) -> None:
        self.interface.page.evaluate("name => app.extensionManager.command.execute(name)", name)
        self.interface.settle()

    def _pick(self, *types: str) -> dict[str, Any] | None:
        nodes = [node for node in self._seen["nodes"] if not types or node["type"] in types]
        return self._random.choice(nodes) if nodes else None

    def _on(self, node: dict[str, Any], script: str, *arguments: Any) -> Any:
        """Run a script about ``node`` of the graph on display, as one change."""
        return self.interface.page.evaluate(
            f"""([id, ...more]) => {{ const node = app.canvas.graph.getNodeById(id);
                app.canvas.emitBeforeChange();
                try {{ return (({script}))(node, ...more) }} finally {{ app.canvas.emitAfterChange() }} }}""",
            [int(node["id"]), *arguments],
        )

    def _element(self, kind: str) -> dict[str, Any] | None:
        elements = [element for element in self._seen["elements"] if element["kind"] == kind]
        return self._random.choice(elements) if elements else None

    def _click(self, point: list[float], name: str) -> bool:
        """Click into a field; False where another node lies over it."""
        over = "([x, y]) => document.elementFromPoint(x, y)?.dataset?.field ?? ''"
        if self.interface.page.evaluate(over, point) != name:
            return False
        self.interface.page.mouse.click(*point)
        if self.interface.page.evaluate("() => document.activeElement?.dataset?.field ?? ''") != name:
            self.mismatches.append(f"a click into {name} does not put the cursor there")
        return True

    def _type(self) -> str | None:
        element = self._element("caption")
        fields = [one for one in (element or {}).get("fields", []) if not one["disabled"]]
        if not fields:
            return None
        place = self._random.choice(fields)
        self._typed += 1
        text = f"text {self._typed}"
        page = self.interface.page
        if not self._click(place["middle"], place["name"]):
            return None
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(text)
        if self._random.random() < 0.7:
            page.evaluate("() => document.activeElement?.blur()")
        self.interface.settle()
        is_held = any(text in str(node["values"].values()) for node in self.look()["nodes"])
        if not is_held:
            self.mismatches.append(f"{text!r}, typed into {place['name']}, is in no node")
        return f"typed {text!r} into {place['name']}"

    def _change_layout(self) -> str | None:
        node = self._pick(LAYOUT)
        if node is None:
            return None
        name, value = self._random.choice(
            [
                ("rows", self._random.randint(1, 4)),
                ("columns", self._random.randint(1, 3)),
                ("kind", self._random.choice(["rows", "columns", "grid"])),
                ("gutter", self._random.choice([0, 16, 7])),
                ("names", self._random.choice(["", "A, B, C"])),
                ("width", self._random.choice([512, 768, 1024])),
            ]
        )
        self._on(
            node,
            """(node, name, value) => { const widget = node.widgets.find(one => one.name === name);
                widget.value = value; widget.callback?.(value, app.canvas, node) }""",
            name,
            value,
        )
        return f"set {name} of layout {node['id']} to {value!r}"

    def _drag(self) -> str | None:
        element = self._element("picture")
        if not element or not element["border"]:
            return None
        x, y = element["border"]
        mouse = self.interface.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + 4, y + 4)
        mouse.move(x + self._random.randint(-12, 12), y + self._random.randint(-12, 12))
        mouse.up()
        self.interface.settle()
        return "dragged a border"

    def _key(self, key: str) -> None:
        page = self.interface.page
        page.evaluate("() => document.activeElement?.blur()")
        self.interface.settle()
        page.keyboard.press(key)
        self.interface.settle()
        page.wait_for_function("() => !app.extensionManager.workflow.activeWorkflow.changeTracker._restoringState")
        self.interface.settle()

    def _undo(self) -> str:
        self._key("Control+z")
        return "undid"

    def _redo(self) -> str:
        self._key("Control+y")
        return "redid"

    def _switch_tab(self) -> str:
        self._command("Workspace.NextOpenedWorkflow")
        self.interface.page.wait_for_function("() => !app.configuringGraph")
        self.interface.settle()
        return "went to the next tab"

    def _copy(self) -> str | None:
        nodes = self._seen["nodes"]
        node = self._pick()
        if node is None or len(nodes) >= MOST_NODES:
            return None
        self.interface.page.evaluate(
            """id => { const { nodes } = app.canvas.graph;
                app.canvas.selectItems([app.canvas.graph.getNodeById(id)]);
                app.canvas.copyToClipboard();
                const right = Math.max(...nodes.map(node => node.pos[0] + node.size[0]));
                app.canvas.pasteFromClipboard({ position: [right + 80, nodes[0].pos[1]] }) }""",
            int(node["id"]),
        )
        self.interface.settle()
        return f"copied and pasted {node['type']} {node['id']}"

    def _delete(self) -> str | None:
        nodes = self._seen["nodes"]
        node = self._pick()
        if node is None or len(nodes) < 4:
            return None
        self._on(node, "node => { app.canvas.selectItems([node]); app.canvas.deleteSelected() }")
        return f"deleted {node['type']} {node['id']}"

    def _collapse(self) -> str | None:
        node = self._pick()
        if node is None:
            return None
        self._on(node, "node => node.collapse()")
        return f"collapsed or opened {node['type']} {node['id']}"

    def _change_mode(self) -> str | None:
        node = self._pick()
        if node is None:
            return None
        mode = self._random.choice([0, 0, 2, 4])
        self._on(node, "(node, mode) => { node.mode = mode }", mode)
        return f"set {node['type']} {node['id']} to mode {mode}"

    def _toggle_plain(self) -> str | None:
        element = self._element("caption")
        if not element or not element["plain"] or not element["fields"]:
            return None
        self.interface.page.mouse.click(*element["plain"])
        self.interface.settle()
        return "pressed 'plain fields'"

    def _relink(self) -> str | None:
        target, origin = self._pick(STITCH, CAPTION), self._pick(LAYOUT)
        if target is None or origin is None:
            return None
        name = "layout" if target["type"] == STITCH else "recipe"
        if self._random.random() < 0.3:
            self._on(target, "(node, name) => node.disconnectInput(node.findInputSlot(name))", name)
            return f"took {name} from {target['id']}"
        self._on(
            target,
            """(node, name, id) => { const from = app.canvas.graph.getNodeById(id);
                from.connect(from.findOutputSlot(name), node, node.findInputSlot(name)) }""",
            name,
            int(origin["id"]),
        )
        return f"connected {name} of {origin['id']} to {target['id']}"

    def _convert(self) -> str | None:
        look = self._seen
        nodes = [node for node in look["nodes"] if node["type"] in (LAYOUT, STITCH, CAPTION)]
        if look["inside"] or not nodes:
            return None
        chosen = self._random.sample(nodes, min(len(nodes), self._random.randint(1, 2)))
        self.interface.page.evaluate(
            "ids => app.canvas.selectItems(ids.map(id => app.canvas.graph.getNodeById(id)))",
            [int(node["id"]) for node in chosen],
        )
        self._command("Comfy.Graph.ConvertToSubgraph")
        return f"made a subgraph of {', '.join(node['id'] for node in chosen)}"

    def _cross_border(self) -> str | None:
        if self._seen["inside"]:
            self.interface.page.evaluate("() => app.canvas.setGraph(app.canvas.graph.rootGraph)")
            self.interface.settle()
            return "left the subgraph"
        entered = self.interface.page.evaluate(
            """() => { const node = app.canvas.graph.nodes.find(node => node.subgraph);
                if (node) app.canvas.openSubgraph(node.subgraph, node); return Boolean(node) }"""
        )
        self.interface.settle()
        return "entered a subgraph" if entered else None

    def _unpack(self) -> str | None:
        if self._seen["inside"]:
            return None
        found = self.interface.page.evaluate(
            """() => { const node = app.canvas.graph.nodes.find(node => node.subgraph);
                if (node) app.canvas.selectItems([node]); return Boolean(node) }"""
        )
        if not found:
            return None
        self._command("Comfy.Graph.UnpackSubgraph")
        return "unpacked a subgraph"

    def _load_again(self) -> str:
        self.interface.page.evaluate(
            "() => app.loadGraphData(JSON.parse(JSON.stringify((app.graph.rootGraph ?? app.graph).serialize())), true, true, "
            "app.extensionManager.workflow.activeWorkflow)"
        )
        self.interface.settle()
        return "saved and opened the workflow"

    def _refresh(self) -> str:
        self.interface.page.evaluate("() => app.refreshComboInNodes()")
        self.interface.settle()
        return "refreshed the nodes' definitions"

    def _paste_caption(self) -> str | None:
        element = self._element("caption")
        fields = [one for one in (element or {}).get("fields", []) if not one["disabled"]]
        if not fields:
            return None
        self._typed += 1
        panels = " ".join(f"[SCENE-{n}] pasted {self._typed}, {n}." for n in range(1, len(fields)))
        page = self.interface.page
        place = self._random.choice(fields)
        if not self._click(place["middle"], place["name"]):
            return None
        page.evaluate(
            """text => { const data = new DataTransfer(); data.setData("text/plain", text);
                document.activeElement.dispatchEvent(
                    new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })) }""",
            f"All of it {self._typed}. {panels}",
        )
        self.interface.page.wait_for_timeout(100)
        self.interface.settle()
        return "pasted a whole caption"
