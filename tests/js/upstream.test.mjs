import assert from "node:assert/strict";
import { test } from "node:test";

import { faceWidget, isGiven, isLinked, isPromoted, layoutFrom, panelStates, recipeAt, source, troubleAt, valueOf } from "../../js/lib/upstream.mjs";

const STORY = {
  name: "film-storyboard",
  prefix: "[MOVIE-SHOTS]",
  markers: ["[SCENE-1]", "[SCENE-2]"],
  layout: {
    width: 128,
    height: 128,
    panels: [
      { name: "SCENE-1", box: [0, 0, 128, 64] },
      { name: "SCENE-2", box: [0, 64, 128, 64] },
    ],
  },
};
const KNOWN = {
  task: (name) => (name === "film-storyboard" ? STORY : undefined),
  lora: (name) => ({ "story.safetensors": STORY, "none.safetensors": null })[name],
};
const LAYOUT = {
  kind: "columns", width: 128, height: 64, rows: 1, columns: 2, columns_per_row: "2",
  gutter: 0, panel_step: "16", boxes: "", names: "", prefix: "",
}; // prettier-ignore

/** A graph as small as what is read of it. */
class Graph {
  /** As in ComfyUI an array; ids are places in it, from 1. */
  nodes = [];
  rootGraph = this;
  links = {};

  add(type, { widgets = {}, inputs = [], outputs = [], ...more } = {}) {
    const node = {
      id: this.nodes.length + 1,
      type,
      graph: this,
      widgets: Object.entries(widgets).map(([name, value]) => ({ name, value })),
      inputs: inputs.map((input) => ({ name: input, type: "T", link: null })),
      outputs: outputs.map((name) => ({ name, type: "T" })),
      ...more,
    };
    this.nodes.push(node);
    return node;
  }

  connect(origin, slot, target, name) {
    const id = Object.keys(this.links).length + 1;
    this.links[id] = { origin_id: origin.id, origin_slot: slot };
    target.inputs.find((input) => input.name === name).link = id;
  }

  getNodeById(id) {
    return this.nodes[id - 1] ?? null;
  }
}

/** A subgraph, and what ComfyUI's graphs know of each other. */
class Subgraph extends Graph {
  outputs = [];

  constructor(root) {
    super();
    this.rootGraph = root;
    root.subgraphs ??= new Map();
    root.subgraphs.set(root.subgraphs.size, this);
  }

  /** Newer ComfyUI has ids as text, here of the border. */
  fromBorder(slot, target, name) {
    this.connect({ id: slot ? "-10" : -10 }, slot, target, name);
  }

  toBorder(origin, slot) {
    this.links.out = { origin_id: origin.id, origin_slot: slot };
    this.outputs.push({ linkIds: ["out"] });
  }
}

function withTask() {
  const graph = new Graph();
  const task = graph.add("InContextTask", { widgets: { task: "film-storyboard" }, outputs: ["recipe"] });
  const caption = graph.add("InContextJointCaption", { inputs: ["recipe"] });
  return { graph, task, caption };
}

test("a recipe is found behind reroutes and bypassed nodes", () => {
  const { graph, task, caption } = withTask();
  assert.equal(recipeAt(caption, "recipe", KNOWN), null);
  const reroute = graph.add("Reroute", { inputs: [""], outputs: [""] });
  const bypassed = graph.add("Any", { mode: 4, inputs: ["x"], outputs: ["x"] });
  graph.connect(task, 0, reroute, "");
  graph.connect(reroute, 0, bypassed, "x");
  graph.connect(bypassed, 0, caption, "recipe");
  assert.equal(recipeAt(caption, "recipe", KNOWN), STORY);
  assert.equal(source(caption, "recipe").node, task);
});

test("a recipe is found behind the border of a subgraph, into it and out of it", () => {
  const { graph, task, caption } = withTask();
  const holder = new Subgraph(graph);
  const middle = new Subgraph(graph);
  const inner = middle.add("InContextStitchPanels", { inputs: ["layout"] });
  middle.fromBorder(0, inner, "layout");
  const instance = holder.add("sub", { subgraph: middle, inputs: ["in"] });
  holder.fromBorder(1, instance, "in");
  const outer = graph.add("sub", { subgraph: holder, inputs: ["other", "recipe"] });
  assert.equal(recipeAt(inner, "layout", KNOWN), null);
  graph.connect(task, 0, outer, "recipe");
  assert.equal(recipeAt(inner, "layout", KNOWN), STORY);
  graph.add("sub", { subgraph: holder, inputs: ["other", "recipe"] });
  assert.equal(recipeAt(inner, "layout", KNOWN), null); // two nodes stand for it: which one is asked?

  const giver = new Subgraph(graph);
  giver.toBorder(giver.add("InContextTask", { widgets: { task: "film-storyboard" }, outputs: ["recipe"] }), 0);
  graph.connect(graph.add("sub", { subgraph: giver, outputs: ["recipe"] }), 0, caption, "recipe");
  assert.equal(recipeAt(caption, "recipe", KNOWN), STORY);
});

test("a LoRA's own recipe goes before the one that is connected", () => {
  const { graph, task, caption } = withTask();
  const lora = graph.add("InContextLoadLora", { widgets: { lora_name: "none.safetensors" }, inputs: ["recipe_if_missing"] });
  graph.connect(lora, 1, caption, "recipe");
  assert.equal(recipeAt(caption, "recipe", KNOWN), null);
  graph.connect(task, 0, lora, "recipe_if_missing");
  assert.equal(recipeAt(caption, "recipe", KNOWN), STORY);
  const own = { ...STORY, name: "own" };
  assert.equal(recipeAt(caption, "recipe", { ...KNOWN, lora: () => own }), own);
});

test("Panel Layout keeps the caption of its recipe and has markers of its own", () => {
  const { graph, task, caption } = withTask();
  const layout = graph.add("InContextLayout", { widgets: LAYOUT, inputs: ["recipe", "width"] });
  graph.connect(layout, 0, caption, "recipe");
  assert.deepEqual(recipeAt(caption, "recipe", KNOWN).markers, ["[LEFT]", "[RIGHT]"]);
  assert.equal(recipeAt(caption, "recipe", KNOWN).prefix, "");
  graph.connect(task, 0, layout, "recipe");
  const recipe = recipeAt(caption, "recipe", KNOWN);
  assert.deepEqual([recipe.name, recipe.prefix, recipe.markers], ["film-storyboard", "[MOVIE-SHOTS]", ["[LEFT]", "[RIGHT]"]]);
  assert.deepEqual(layoutFrom(recipe).boxes[1], { left: 64, top: 0, width: 64, height: 64 });
  layout.widgets.find((widget) => widget.name === "prefix").value = " [MINE] ";
  assert.equal(recipeAt(caption, "recipe", KNOWN).prefix, "[MINE]");
});

test("nothing is guessed where another node gives the values", () => {
  const { graph, caption } = withTask();
  const layout = graph.add("InContextLayout", { widgets: LAYOUT, inputs: ["recipe", "width"] });
  graph.connect(layout, 0, caption, "recipe");
  assert.ok(recipeAt(caption, "recipe", KNOWN));
  const number = graph.add("PrimitiveInt", { outputs: ["INT"] });
  graph.connect(number, 0, layout, "width");
  assert.equal(recipeAt(caption, "recipe", KNOWN), null);
  assert.equal(recipeAt(graph.add("Any", { inputs: ["recipe"] }), "recipe", KNOWN), null);
});

test("an impossible layout leaves the last possible one, and says so", () => {
  const { graph, caption } = withTask();
  const layout = graph.add("InContextLayout", { title: "Mine", widgets: { ...LAYOUT, gutter: 7 }, inputs: ["recipe"] });
  graph.connect(layout, 0, caption, "recipe");
  const gutter = layout.widgets.find((widget) => widget.name === "gutter");
  assert.equal(recipeAt(caption, "recipe", KNOWN), null);
  assert.deepEqual(troubleAt(caption, "recipe"), { title: "Mine", reason: "impossible" });
  gutter.value = 0;
  const possible = recipeAt(caption, "recipe", KNOWN);
  assert.equal(troubleAt(caption, "recipe"), null);
  gutter.value = 7;
  assert.deepEqual(recipeAt(caption, "recipe", KNOWN), possible);
  assert.deepEqual(troubleAt(caption, "recipe"), { title: "Mine", reason: "impossible" });
  graph.nodes[layout.id - 1] = { ...layout }; // as an undo makes it again
  assert.deepEqual(recipeAt(caption, "recipe", KNOWN), possible);
});

test("a muted or bypassed node still shows its layout, and says why it is not sent", () => {
  const { graph, task, caption } = withTask();
  graph.connect(task, 0, caption, "recipe");
  for (const [mode, reason] of [[2, "muted"], [4, "bypassed"]]) {
    task.mode = mode;
    assert.equal(recipeAt(caption, "recipe", KNOWN), STORY);
    assert.deepEqual(troubleAt(caption, "recipe"), { title: "InContextTask", reason });
  }
  task.mode = 0;
  assert.equal(troubleAt(caption, "recipe"), null);
});

test("a layout passes through Stitch Panels and Repaint Panels, with what is wrong about it", () => {
  const { graph, task } = withTask();
  const stitch = graph.add("InContextStitchPanels", { inputs: ["layout"], outputs: ["layout"] });
  const repaint = graph.add("InContextRepaintPanels", { inputs: ["layout"], outputs: ["panels_layout"] });
  const end = graph.add("InContextConditionPanels", { inputs: ["layout"] });
  graph.connect(task, 0, stitch, "layout");
  graph.connect(stitch, 0, repaint, "layout");
  graph.connect(repaint, 0, end, "layout");
  assert.equal(recipeAt(end, "layout", KNOWN), STORY);
  assert.equal(troubleAt(end, "layout"), null);
  task.mode = 2;
  assert.equal(troubleAt(end, "layout").reason, "muted");
});

test("panels are given where an image arrives, and opened where a mask does", () => {
  const graph = new Graph();
  const inputs = ["layout", "images", "masks", "panel_1", "panel_2", "mask_2"];
  const stitch = graph.add("InContextStitchPanels", { inputs });
  const image = graph.add("LoadImage", { outputs: ["IMAGE", "MASK"] });
  const names = ["A", "B", "C"];
  assert.deepEqual(panelStates(stitch, names), ["generated", "generated", "generated"]);
  graph.connect(image, 0, stitch, "panel_2");
  assert.deepEqual(panelStates(stitch, names), ["generated", "given", "generated"]);
  graph.connect(image, 1, stitch, "mask_2");
  assert.deepEqual(panelStates(stitch, names), ["generated", "opened", "generated"]);
  image.mode = 2;
  assert.deepEqual(panelStates(stitch, names), ["generated", "generated", "generated"]);
  assert.ok(isLinked(stitch, "panel_2") && !isLinked(stitch, "panel_1") && !isLinked(stitch, "gone"));
  graph.connect(image, 0, stitch, "images");
  assert.equal(panelStates(stitch, names), null);
});

test("Repaint Panels opens the panels that it names, by number or name", () => {
  const graph = new Graph();
  const repaint = graph.add("InContextRepaintPanels", { widgets: { panels: "2, [a]" }, inputs: ["panels"] });
  assert.deepEqual(panelStates(repaint, ["A", "B", "C"]), ["generated", "generated", "given"]);
  graph.connect(graph.add("PrimitiveString", { outputs: ["STRING"] }), 0, repaint, "panels");
  assert.equal(panelStates(repaint, ["A", "B", "C"]), null);
});

test("a widget is promoted where a node that stands for its subgraph says so", () => {
  const root = new Graph();
  const inside = new Subgraph(root);
  const caption = inside.add("InContextJointCaption");
  const face = root.add("sub", { subgraph: inside, properties: { proxyWidgets: [["1", "panel_1"]] } });
  assert.ok(isPromoted(caption, "panel_1") && !isPromoted(caption, "panel_2"));
  face.properties = {};
  assert.ok(!isPromoted(caption, "panel_1"));
});

test("a value is read from the face of the subgraph that its widget is linked to", () => {
  const root = new Graph();
  const inside = new Subgraph(root);
  const caption = inside.add("InContextJointCaption", { widgets: { panel_1: "inside" }, inputs: ["panel_1"] });
  assert.equal(valueOf(caption, "panel_1"), "inside");
  inside.fromBorder(0, caption, "panel_1");
  const field = { name: "panel_1", value: "on the face" };
  const face = root.add("sub", { subgraph: inside, inputs: ["panel_1"], getWidgetFromSlot: () => field });
  assert.equal(faceWidget(caption, "panel_1"), field);
  assert.equal(valueOf(caption, "panel_1"), "on the face");
  assert.ok(isLinked(caption, "panel_1") && !isGiven(caption, "panel_1"));

  root.connect(root.add("PrimitiveString"), 0, face, "panel_1");
  assert.equal(faceWidget(caption, "panel_1"), null, "a node outside gives the value");
  assert.ok(isGiven(caption, "panel_1"));
});

test("a field of a subgraph in a subgraph is on the outer face, and of two faces none is the one", () => {
  const root = new Graph();
  const middle = new Subgraph(root);
  const inside = new Subgraph(root);
  const caption = inside.add("InContextJointCaption", { widgets: { panel_1: "" }, inputs: ["panel_1"] });
  inside.fromBorder(0, caption, "panel_1");
  const inner = middle.add("sub", { subgraph: inside, inputs: ["panel_1"], getWidgetFromSlot: () => ({ value: "unused" }) });
  middle.fromBorder(0, inner, "panel_1");
  const outer = { subgraph: middle, inputs: ["panel_1"], getWidgetFromSlot: () => ({ value: "outermost" }) };
  root.add("sub", outer);
  assert.equal(valueOf(caption, "panel_1"), "outermost");
  root.add("sub", outer);
  assert.ok(isGiven(caption, "panel_1"));
});
