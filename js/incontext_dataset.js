/** The sets of a built dataset on Build Dataset, each with its warnings. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { DatasetView, datasetName } from "./lib/dataset_view.mjs";
import { loadStyles } from "./lib/dom.mjs";
import { ourNodes, watchGraph, watchNode } from "./lib/graph.mjs";
import { translator } from "./lib/messages.mjs";
import { isGiven, valueOf } from "./lib/upstream.mjs";
import { addElement } from "./lib/widgets.mjs";
import { Desk } from "./lib/training/desk.mjs";
import { wordsOf } from "./lib/training/words.mjs";

const NODE = "InContextBuildDataset";
const HEIGHT = 260;

const desk = new Desk(api);
/** @type {WeakMap<object, {view: DatasetView, shown: string}>} */
const states = new WeakMap();

app.registerExtension({
  name: "InContextLora.Dataset",

  setup() {
    loadStyles("parts", "dataset");
    watchGraph(app, api, () => nodes().forEach((node) => show(node, nameOf(node))));
    api.addEventListener("executed", ({ detail }) => {
      const [name] = detail.output?.incontext_dataset ?? [];
      if (!name) return;
      const id = String(detail.display_node ?? detail.node).split(":").at(-1);
      const built = nodes().filter((node) => String(node.id) === id);
      for (const node of built) show(node, name, true);
    });
  },

  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const locale = app.extensionManager.setting.get("Comfy.Locale");
    const view = new DatasetView(desk, { words: wordsOf(locale), translate: translator(locale) });
    states.set(node, { view, shown: "" });
    addElement(app, node, "sets", view.element, HEIGHT);
    watchNode(node);
  },
});

const nodes = () => ourNodes(app, { [NODE]: true });

/** What the node's values say; empty if another node gives one of them, and then running tells. */
function nameOf(node) {
  if (isGiven(node, "name") || isGiven(node, "folder")) return "";
  return datasetName({ name: valueOf(node, "name"), folder: valueOf(node, "folder") });
}

function show(node, name, isNew = false) {
  const state = states.get(node);
  if (!state || !name || (state.shown === name && !isNew)) return;
  state.shown = name;
  void state.view.look(name);
}
