import assert from "node:assert/strict";
import { test } from "node:test";

import { givenPictures, readFile } from "../../js/lib/given.mjs";
import { layoutAt, panelStates, recipeAt, source, troubleAt } from "../../js/lib/upstream.mjs";

const HOST = { outputsOf: () => [], addressOf: (file) => file.filename };
const NAMES = ["LEFT", "RIGHT"];
const BOXES = [0, 64].map((left) => ({ left, top: 0, width: 64, height: 64 }));
const LAYOUT = { width: 128, height: 64, names: NAMES, boxes: BOXES };
const FITTING = { fit: "cover", align: "center", exceptions: "", padding: "white" };
const PANEL_LAYOUT = {
  kind: "rows", width: 128, height: 64, rows: 1, columns: 2, columns_per_row: "2",
  gutter: 0, panel_step: "16", boxes: "", names: "", prefix: "",
}; // prettier-ignore
const STRAY = [5, true, null, undefined, NaN, 1e300, -1, [1], { a: 1 }];

/** What is read of ComfyUI's graph. */
class Graph {
  nodes = [];
  links = [];
  rootGraph = this;
  isRootGraph = true;

  add(type, widgets = {}, inputs = []) {
    const node = {
      id: this.nodes.length,
      type,
      graph: this,
      widgets: Object.entries(widgets).map(([name, value]) => ({ name, value })),
      inputs: inputs.map((name) => ({ name, link: null })),
      outputs: [{ type: "IMAGE", links: [] }],
    };
    this.nodes.push(node);
    return node;
  }

  connect(origin, target, name) {
    target.inputs.find((input) => input.name === name).link = this.links.length;
    this.links.push({ origin_id: origin.id, origin_slot: 0, target_id: target.id });
  }

  getNodeById(id) {
    return this.nodes[id] ?? null;
  }
}


test("files as Load Image names them", () => {
  assert.deepEqual(readFile("hero.png"), { filename: "hero.png", subfolder: "", type: "input" });
  assert.deepEqual(readFile("sets/01/hero 2.png [output]"), { filename: "hero 2.png", subfolder: "sets/01", type: "output" });
  assert.deepEqual(readFile("clipspace\\mask [1].png [input]"), { filename: "mask [1].png", subfolder: "clipspace", type: "input" });
  for (const nothing of ["", " ", undefined, null, 3, ["a.png", 0]]) assert.equal(readFile(nothing), null);
});

test("a value that has shifted to another widget is read as ComfyUI sends it", () => {
  const graph = new Graph();
  const file = graph.add("LoadImage", { image: "a.png" });
  for (const value of STRAY) {
    for (const name of Object.keys(FITTING)) {
      const stitch = graph.add("InContextStitchPanels", { ...FITTING, [name]: value }, ["panel_1", "images"]);
      graph.connect(file, stitch, "panel_1");
      assert.equal(givenPictures(stitch, LAYOUT, HOST).length, 2);
    }
    assert.equal(panelStates(graph.add("InContextRepaintPanels", { panels: value }), NAMES).length, 2);
    for (const [kind, name] of ["rows", "grid", "nested rows", "boxes"].flatMap((kind) => Object.keys(PANEL_LAYOUT).map((name) => [kind, name]))) {
      assert.doesNotThrow(() => layoutAt(graph.add("InContextLayout", { ...PANEL_LAYOUT, kind, [name]: value })), `${kind} ${name}`);
    }
  }
  assert.deepEqual(panelStates(graph.add("InContextRepaintPanels", { panels: 2 }), NAMES), ["given", "generated"]);
});

test("loops of links end", () => {
  const graph = new Graph();
  const reroutes = [0, 1].map(() => graph.add("Reroute", {}, [""]));
  const batches = [0, 1].map(() => graph.add("ImageBatch", {}, ["image1", "image2"]));
  const stitch = graph.add("InContextStitchPanels", FITTING, ["images", "layout"]);
  graph.connect(reroutes[0], reroutes[1], "");
  graph.connect(reroutes[1], reroutes[0], "");
  graph.connect(batches[0], batches[1], "image1");
  graph.connect(batches[1], batches[0], "image1");
  graph.connect(batches[0], stitch, "images");
  graph.connect(stitch, stitch, "layout");
  assert.equal(source(reroutes[0], ""), null);
  assert.deepEqual(givenPictures(stitch, LAYOUT, HOST), [null, null]);
  assert.equal(recipeAt(stitch, "layout", {}), null);
  assert.equal(troubleAt(stitch, "layout"), null);
});

test("of batches that double at every node only the pictures of the panels are looked for", () => {
  const graph = new Graph();
  let last = graph.add("LoadImage", { image: "a.png" });
  let asked = 0;
  const host = { ...HOST, addressOf: (file) => (++asked, file.filename) };
  for (let count = 0; count < 16; count++) {
    const batch = graph.add("ImageBatch", {}, ["image1", "image2"]);
    for (const name of ["image1", "image2"]) graph.connect(last, batch, name);
    last = batch;
  }
  const stitch = graph.add("InContextStitchPanels", FITTING, ["images"]);
  graph.connect(last, stitch, "images");
  assert.deepEqual(givenPictures(stitch, LAYOUT, host).map((given) => given.address), ["a.png", "a.png"]);
  assert.equal(asked, 2);
});
