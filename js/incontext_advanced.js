/** Advanced inputs stay out of the way until they are asked for, also in versions of ComfyUI that do not do this by themselves. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { addToggle, advancedWidgets, foldAdvanced } from "./lib/advanced.mjs";
import { everyNode, watchGraph, watchNode } from "./lib/graph.mjs";
import { refresh, showWidget } from "./lib/widgets.mjs";
import { wordsOf } from "./lib/words.mjs";

const OURS = "InContext";
const WIDTH = 380; // of a new node, so that Nodes 2.0 have room for its labels
/** Known to frontends whose Nodes 2.0 fold advanced inputs away. */
const HOST_SETTING = "Comfy.Node.AlwaysShowAdvancedWidgets";

let words = wordsOf("en");

app.registerExtension({
  name: "InContextLora.Advanced",

  setup() {
    words = wordsOf(app.extensionManager.setting.get("Comfy.Locale"));
    watchGraph(app, api, () => everyNode(app).forEach(update));
  },

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(OURS) || !advancedWidgets(node).length) return;
    watchNode(node);
    addToggle(node, () => {
      app.canvas.emitBeforeChange();
      node.showAdvanced = !node.showAdvanced;
      update(node);
      node.setSize([node.size[0], node.computeSize()[1]]);
      app.canvas.emitAfterChange();
    });
    // inputs stay until a saved workflow, if there is one, has connected them
    for (const widget of advancedWidgets(node)) showWidget(widget, byHost().inThisRenderer);
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, WIDTH), height]);
  },
});

function byHost() {
  const inAny = app.extensionManager.setting.get(HOST_SETTING) !== undefined;
  return { inAny, inThisRenderer: inAny && Boolean(LiteGraph.vueNodesMode) };
}

function update(node) {
  if (foldAdvanced(node, byHost(), words)) refresh(app, node);
}
