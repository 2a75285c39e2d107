/** Our nodes on the canvas, and when to look at them again. */

import { onWidget } from "./widgets.mjs";

const watchers = new Set();
let scheduled = false;

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
  for (const look of watchers) look();
}

/**
 * Call `look` whenever something may have changed: a value, a link, a workflow that was opened, an undo.
 * @param {object} app
 * @param {object} api
 * @param {() => void} look
 */
export function watchGraph(app, api, look) {
  watchers.add(look);
  if (watchers.size > 1) return;
  for (const event of ["graphChanged", "graphCleared"]) api.addEventListener(event, lookAgain);
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
    lookAgain();
  };
  lookAgain();
}

/**
 * Nodes of the kinds that `kinds` has, in the root graph and in all subgraphs.
 * @param {object} app
 * @param {Record<string, unknown>} kinds
 */
export function ourNodes(app, kinds) {
  const root = app.graph.rootGraph ?? app.graph;
  const graphs = [root, ...(root.subgraphs?.values() ?? [])];
  return graphs.flatMap((graph) => graph.nodes.filter((node) => node.comfyClass in kinds));
}
