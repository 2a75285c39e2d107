/** What nodes have shown in this session, as ComfyUI's interface keeps it. */

/** @typedef {{filename: string, subfolder?: string, type?: string}} File  as ComfyUI's route /view takes it */

/**
 * What a node has shown last, by kind; nothing where it has not run.
 * @param {object} app
 * @param {object} node
 * @returns {Record<string, any[]>}
 */
export function outputOf(app, { graph, id }) {
  // nodes in subgraphs are known by their graph as well, whose nodes may have the numbers of others
  const isInside = graph?.isRootGraph === false;
  return app.nodeOutputs?.[isInside ? `${graph.id}:${id}` : id] ?? {};
}

/**
 * @param {object} api
 * @param {File} file
 */
export function addressOf(api, { filename, subfolder = "", type = "output" }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}
