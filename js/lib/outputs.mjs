/** What nodes have shown in this session, as ComfyUI's interface keeps it. */

/** @typedef {{filename: string, subfolder?: string, type?: string}} File  as ComfyUI's route /view takes it */

import { instances } from "./upstream.mjs";

/**
 * What a node has shown last, by kind; nothing if it has not run.
 * @param {object} app
 * @param {object} node
 * @returns {Record<string, any[]>}
 */
export function outputOf(app, node) {
  const key = keysOf(node).find((each) => app.nodeOutputs?.[each]);
  return key === undefined ? {} : app.nodeOutputs[key];
}

/**
 * The names by which ComfyUI knows what a node has shown: in a subgraph by its graph, and in older frontends, after another tab
 * was shown, by the nodes that lead to it, as the server names it.
 */
function keysOf(node) {
  return node.graph?.isRootGraph === false ? [`${node.graph.id}:${node.id}`, ...pathsOf(node)] : [String(node.id)];
}

function pathsOf({ graph, id }) {
  if (graph?.isRootGraph !== false) return [String(id)];
  return instances(graph).flatMap(pathsOf).map((path) => `${path}:${id}`);
}

/**
 * @param {object} api
 * @param {File} file
 */
export function addressOf(api, { filename, subfolder = "", type = "output" }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}
