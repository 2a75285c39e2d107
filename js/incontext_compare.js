/** Before and after, on the nodes that change a finished picture. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { Compare } from "./lib/compare.mjs";
import { loadStyles } from "./lib/dom.mjs";
import { lookAgain, ourNodes, watchGraph } from "./lib/graph.mjs";
import { addressOf, outputOf } from "./lib/outputs.mjs";
import { addElement } from "./lib/widgets.mjs";
import { wordsOf } from "./lib/words.mjs";

const NODES = { InContextKeepGiven: true, InContextPastePanels: true };
const HEIGHT = 180;

/** @type {WeakMap<object, Compare>} */
const compares = new WeakMap();

app.registerExtension({
  name: "InContextLora.Compare",

  setup() {
    loadStyles("compare");
    watchGraph(app, api, () => ourNodes(app, NODES).forEach(update));
    api.addEventListener("executed", lookAgain);
  },

  nodeCreated(node) {
    if (!(node.comfyClass in NODES)) return;
    const compare = new Compare(wordsOf(app.extensionManager.setting.get("Comfy.Locale")));
    compares.set(node, compare);
    addElement(app, node, "compare", compare.element, HEIGHT);
  },
});

/** ComfyUI keeps what nodes have shown, also over an undo and on other tabs. */
function update(node) {
  const { incontext_before: [before] = [], incontext_after: [after] = [] } = outputOf(app, node);
  const addresses = before && after ? { before: addressOf(api, before), after: addressOf(api, after) } : null;
  void compares.get(node)?.show(addresses);
}
