import assert from "node:assert/strict";
import { test } from "node:test";

import { givenPanels, isLinked, layoutFrom, recipeAt, source } from "../../js/lib/upstream.mjs";

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

test("nothing is guessed where another node gives the values, or they make no layout", () => {
  const { graph, caption } = withTask();
  const layout = graph.add("InContextLayout", { widgets: { ...LAYOUT, gutter: 7 }, inputs: ["recipe", "width"] });
  graph.connect(layout, 0, caption, "recipe");
  assert.equal(recipeAt(caption, "recipe", KNOWN), null);
  layout.widgets.find((widget) => widget.name === "gutter").value = 0;
  assert.ok(recipeAt(caption, "recipe", KNOWN));
  const number = graph.add("PrimitiveInt", { outputs: ["INT"] });
  graph.connect(number, 0, layout, "width");
  assert.equal(recipeAt(caption, "recipe", KNOWN), null);
  assert.equal(recipeAt(graph.add("Any", { inputs: ["recipe"] }), "recipe", KNOWN), null);
});

test("panels are given where an image is connected", () => {
  const graph = new Graph();
  const stitch = graph.add("InContextStitchPanels", { inputs: ["layout", "images", "panel_1", "panel_2"] });
  const image = graph.add("LoadImage", { outputs: ["IMAGE"] });
  assert.deepEqual(givenPanels(stitch, 3), [false, false, false]);
  graph.connect(image, 0, stitch, "panel_2");
  assert.deepEqual(givenPanels(stitch, 3), [false, true, false]);
  assert.ok(isLinked(stitch, "panel_2") && !isLinked(stitch, "panel_1") && !isLinked(stitch, "gone"));
  graph.connect(image, 0, stitch, "images");
  assert.equal(givenPanels(stitch, 3), null);
});
