/** Our nodes on the canvas, and when to look at them again. */

import { holdUndo, numberLinks, onWidget } from "./widgets.mjs";

const watchers = new Set();
let scheduled = false;
let looking = false;
let app = null;

/** Look at the graph again before the next frame is drawn. */
export function lookAgain() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    lookNow();
  });
}

/** Look at the graph at once, so that what follows from a change is one step of undo with it. */
export function lookNow() {
  if (looking) return; // changes made here change links as well
  looking = true;
  try {
    for (const look of watchers) look();
  } finally {
    looking = false;
  }
}

/**
 * Call `look` whenever something may have changed: a value, a link, a workflow that was opened, an undo, a
 * subgraph that was entered.
 * @param {object} comfyui  its `app`
 * @param {object} api
 * @param {() => void} look
 */
export function watchGraph(comfyui, api, look) {
  watchers.add(look);
  app = comfyui;
  if (watchers.size > 1) return;
  for (const event of ["graphChanged", "graphCleared"]) api.addEventListener(event, lookAgain);
  // into a subgraph, whose nodes may have got values from its face
  app.canvas.canvas.addEventListener("litegraph:set-graph", lookAgain);
  lookAgain();
}

/**
 * Look again after a node's widgets or links have changed.
 * @param {object} node  just made
 */
export function watchNode(node) {
  for (const widget of node.widgets ?? []) onWidget(widget, lookNow);
  const before = node.onConnectionsChange;
  node.onConnectionsChange = function (...change) {
    before?.apply(this, change);
    if (!app || app.configuringGraph) return lookAgain(); // the graph is not complete yet
    if (LiteGraph.vueNodesMode) holdUndo(app);
    lookNow();
  };
  const configured = node.onConfigure;
  node.onConfigure = function (...values) {
    const result = configured?.apply(this, values);
    numberLinks(this); // before the face of its subgraph, if it is in one, is made
    return result;
  };
  lookAgain();
}

/**
 * Nodes of the kinds that `kinds` has, in the root graph and in all subgraphs.
 * @param {object} app
 * @param {Record<string, unknown>} kinds
 */
export function ourNodes(app, kinds) {
  return everyNode(app).filter((node) => node.comfyClass in kinds);
}

/** All nodes, in the root graph and in all subgraphs. */
export function everyNode(app) {
  const root = app.graph.rootGraph ?? app.graph;
  const graphs = [root, ...(root.subgraphs?.values() ?? [])];
  return graphs.flatMap((graph) => graph.nodes);
}
