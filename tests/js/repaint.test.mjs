import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { repaintPanel } from "../../js/lib/gallery/repaint.mjs";

/** Inputs and outputs of the nodes that are added. */
const KINDS = {
  LoadImage: [[], ["IMAGE", "MASK"], ["image"]],
  InContextRepaintPanels: [["image", "layout"], ["canvas", "mask", "panels_layout"], ["panels", "fill"]],
  InContextConditionPanels: [
    ["model", "vae", "canvas", "mask", "recipe", "layout", "positive", "negative"],
    ["model", "latent", "positive", "negative", "report"],
    [],
  ],
  InContextKeepGiven: [["canvas", "painted", "mask", "pictures"], ["kept"], []],
};

/** As much of LiteGraph as a change of links needs. */
class Graph {
  nodes = [];
  groups = [];
  links = new Map();

  add(added) {
    if (!added.type) return this.groups.push(added);
    added.graph = this;
    added.id ??= 100 + this.nodes.length;
    this.nodes.push(added);
  }

  getNodeById(id) {
    return this.nodes.find((node) => node.id === id) ?? null;
  }

  getLink(id) {
    return this.links.get(id);
  }
}

class Node {
  pos = [0, 0];
  size = [200, 100];
  constructor(type, inputs, outputs, widgets = [], id = undefined) {
    Object.assign(this, { type, id });
    this.inputs = inputs.map((name) => ({ name, link: null }));
    this.outputs = outputs.map((name) => ({ name, links: [] }));
    this.widgets = widgets.map((name) => ({ name, value: name === "seed" || name === "noise_seed" ? 7 : "", options: { values: [] } }));
  }

  connect(slot, target, input) {
    assert.ok(slot < this.outputs.length && input >= 0, `${this.type} ${slot} → ${target.type} ${input}`);
    const before = target.inputs[input].link;
    if (before !== null) {
      const { origin_id: origin, origin_slot: place } = this.graph.links.get(before);
      const { links } = this.graph.getNodeById(origin).outputs[place];
      links.splice(links.indexOf(before), 1);
      this.graph.links.delete(before);
    }
    const id = Math.max(0, ...this.graph.links.keys()) + 1;
    this.graph.links.set(id, { origin_id: this.id, origin_slot: slot, target_id: target.id, target_slot: input });
    this.outputs[slot].links.push(id);
    target.inputs[input].link = id;
  }
}

globalThis.LiteGraph = {
  createNode: (type) => new Node(type, ...KINDS[type]),
  LGraphGroup: class {
    constructor(title) {
      this.title = title;
    }
  },
};
globalThis.document = { querySelector: () => null };

let graph, app;
beforeEach(() => {
  graph = new Graph();
  app = { graph, canvas: { graph, ds: { scale: 1, offset: [0, 0] }, canvas: { clientWidth: 1600 }, setDirty() {} } };
});

/** A node of the workflow with its connections: `{input: [id, slot]}`. */
function node(id, type, links = {}, outputs = 1, widgets = []) {
  const made = new Node(type, Object.keys(links), Array(outputs).fill("out"), widgets, id);
  graph.add(made);
  for (const [index, link] of Object.values(links).entries())
    if (link) graph.getNodeById(link[0]).connect(link[1], made, index);
  return made;
}

/** Where an input comes from: type and number of the output. */
function behind(target, name) {
  const link = graph.getLink(target.inputs.find((input) => input.name === name).link);
  return link ? [graph.getNodeById(link.origin_id).type, link.origin_slot] : null;
}

const only = (type) => {
  const found = graph.nodes.filter((each) => each.type === type);
  assert.equal(found.length, 1, type);
  return found[0];
};
const wiring = (more) => ({ picture: ["6", 0], layout: ["2", 2], stitch: null, sampler: "5", guider: null, model: ["2", 0], vae: ["1", 0], recipe: ["2", 1], ...more });

function plain() {
  node(1, "VAELoader");
  node(2, "InContextLoadLora", {}, 6);
  node(3, "CLIPTextEncode");
  node(4, "EmptySD3LatentImage");
  node(5, "KSampler", { model: [2, 0], positive: [3, 0], negative: [3, 0], latent_image: [4, 0] }, 1, ["seed"]);
  node(6, "VAEDecode", { samples: [5, 0], vae: [1, 0] });
  node(7, "SaveImage", { images: [6, 0] });
  node(8, "InContextSplitPanels", { image: [6, 0], layout: [2, 2] });
}

test("a set from noise: the other panels are given to its sampler, and kept", () => {
  plain();
  assert.equal(repaintPanel(app, wiring(), "set.png", 1, "Repaint"), true);
  const [sampler, given, keep, repaint] = [only("KSampler"), only("InContextConditionPanels"), only("InContextKeepGiven"), only("InContextRepaintPanels")];
  assert.equal(repaint.widgets[0].value, "2");
  assert.deepEqual(behind(repaint, "image"), ["LoadImage", 0]);
  assert.deepEqual(behind(repaint, "layout"), ["InContextLoadLora", 2]);
  assert.deepEqual(["model", "vae", "recipe", "positive", "negative"].map((name) => behind(given, name)), [
    ["InContextLoadLora", 0], ["VAELoader", 0], ["InContextLoadLora", 1], ["CLIPTextEncode", 0], ["CLIPTextEncode", 0],
  ]);
  assert.deepEqual(["canvas", "mask", "layout"].map((name) => behind(given, name)?.[1]), [0, 1, 2]);
  assert.deepEqual(["model", "latent_image", "positive", "negative"].map((name) => behind(sampler, name)?.[1]), [0, 1, 2, 3]);
  assert.deepEqual(behind(keep, "painted"), ["VAEDecode", 0]);
  assert.deepEqual(behind(only("SaveImage"), "images"), ["InContextKeepGiven", 0]);
  assert.deepEqual(behind(only("InContextSplitPanels"), "image"), ["InContextKeepGiven", 0]);
  assert.equal(sampler.widgets[0].value, 8, "another seed");
  assert.equal(graph.groups.length, 1);
});

test("a sampler with a guider", () => {
  plain();
  node(10, "BasicGuider", { model: [2, 0], conditioning: [3, 0] });
  node(11, "RandomNoise", {}, 1, ["noise_seed"]);
  node(12, "SamplerCustomAdvanced", { noise: [11, 0], guider: [10, 0], latent_image: [4, 0] });
  node(13, "VAEDecode", { samples: [12, 0], vae: [1, 0] });
  node(14, "PreviewImage", { images: [13, 0] });
  assert.equal(repaintPanel(app, wiring({ sampler: "12", guider: "10", picture: ["13", 0] }), "set.png", 0, "Repaint"), true);
  assert.deepEqual(behind(only("BasicGuider"), "model"), ["InContextConditionPanels", 0]);
  assert.deepEqual(behind(only("BasicGuider"), "conditioning"), ["InContextConditionPanels", 2]);
  assert.deepEqual(behind(only("SamplerCustomAdvanced"), "latent_image"), ["InContextConditionPanels", 1]);
  assert.deepEqual(behind(only("PreviewImage"), "images"), ["InContextKeepGiven", 0]);
  assert.equal(behind(only("InContextConditionPanels"), "negative"), null);
  assert.equal(only("RandomNoise").widgets[0].value, 8);
});

test("a set painted to references: the picture takes the place of every Stitch Panels", () => {
  node(1, "VAELoader");
  node(2, "InContextLoadLora", {}, 6);
  node(3, "CLIPTextEncode");
  node(20, "InContextStitchPanels", { layout: [2, 2] }, 3);
  node(21, "InContextStitchPanels", { layout: [2, 2] }, 3);
  node(22, "InContextConditionPanels", { model: [2, 0], canvas: [20, 0], mask: [21, 1], layout: [21, 2], positive: [3, 0] }, 5);
  node(5, "KSampler", { model: [22, 0], positive: [22, 2], latent_image: [22, 1] }, 1, ["seed"]);
  node(6, "VAEDecode", { samples: [5, 0], vae: [1, 0] });
  node(23, "InContextKeepGiven", { canvas: [20, 0], painted: [6, 0], mask: [21, 1] });
  assert.equal(repaintPanel(app, wiring({ stitch: "21", picture: ["23", 0] }), "set.png", 1, "Repaint"), true);
  const given = only("InContextConditionPanels");
  assert.deepEqual(["canvas", "mask", "layout"].map((name) => behind(given, name)), [0, 1, 2].map((slot) => ["InContextRepaintPanels", slot]));
  assert.deepEqual(behind(only("InContextKeepGiven"), "canvas"), ["InContextRepaintPanels", 0]);
  assert.deepEqual(behind(only("InContextKeepGiven"), "mask"), ["InContextRepaintPanels", 1]);
  assert.deepEqual(behind(given, "model"), ["InContextLoadLora", 0]);
});

test("a set that was repainted already: its picture, its panel and the seed change", () => {
  plain();
  const repaint = node(30, "InContextRepaintPanels", { image: [6, 0], layout: [2, 2] }, 3, ["panels"]);
  node(31, "InContextConditionPanels", { canvas: [30, 0] }, 5);
  assert.equal(repaintPanel(app, wiring({ stitch: "30" }), "set.png", 2, "Repaint"), true);
  assert.deepEqual(behind(repaint, "image"), ["LoadImage", 0]);
  assert.equal(repaint.widgets[0].value, "3");
  assert.equal(only("KSampler").widgets[0].value, 8);
});

test("where the sampler is not in sight, the new nodes are there and nothing else changes", () => {
  plain();
  assert.equal(repaintPanel(app, wiring({ sampler: "9:5" }), "set.png", 1, "Repaint"), false);
  assert.deepEqual(behind(only("SaveImage"), "images"), ["VAEDecode", 0]);
  assert.deepEqual(behind(only("InContextRepaintPanels"), "layout"), ["InContextLoadLora", 2]);
});
