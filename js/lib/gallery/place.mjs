/** Pictures of sets into the workflow that is open. */

import { fill } from "../words.mjs";
import { holdUndo, refresh, writeWidget } from "../widgets.mjs";

const LOAD = "LoadImage";
const STITCH = "InContextStitchPanels";
const GAP = 60; // between nodes

/**
 * Put a picture of the input folder where a person expects it: into the Load Image that is selected, onto the first free panel of
 * the Stitch Panels that is selected, else into a new Load Image in the middle of the view. One step for undo.
 * @param {object} app
 * @param {string} name  of the file
 * @param {object} words
 * @returns {string} what was done
 */
export function placeReference(app, name, words) {
  const [selected, ...others] = Object.values(app.canvas.selected_nodes ?? {});
  const only = others.length ? null : selected;
  holdUndo(app);
  if (only?.type === LOAD) {
    showPicture(app, only, name);
    return fill(words.inLoadImage, { name, title: titleOf(only) });
  }
  if (only?.type !== STITCH) {
    const [x, y] = middleOf(app);
    addLoader(app, name, ([width, height]) => [x - width / 2, y - height / 2]);
    return fill(words.asNew, { name });
  }
  const input = freePanel(only);
  const number = Number(input?.name.slice("panel_".length) ?? 1);
  const [left, top] = only.pos;
  const loader = addLoader(app, name, ([width]) => [left - width - GAP, top + (number - 1) * GAP]);
  if (!input) return fill(words.noFreePanel, { name, title: titleOf(only) });
  loader.connect(0, only, only.inputs.indexOf(input));
  return fill(words.onStitch, { name, title: titleOf(only), input: input.localized_name || input.name });
}

/** The first input for a panel to which nothing is connected. */
export function freePanel(node) {
  return (node.inputs ?? []).find(({ name, link }) => /^panel_\d+$/.test(name) && link == null);
}

/**
 * A new Load Image with this picture.
 * @param {(size: [number, number]) => [number, number]} place  where it is put
 */
export function addLoader(app, name, place, graph = app.canvas.graph) {
  const loader = add(app, LOAD, place, graph);
  showPicture(app, loader, name);
  return loader;
}

/** A new node; Nodes 2.0 keep the place at which it was added. */
export function add(app, type, place, graph) {
  const node = LiteGraph.createNode(type);
  if (!node) throw new Error(`${type}?`);
  node.pos = place(node.size);
  graph.add(node);
  return node;
}

function showPicture(app, loader, name) {
  const widget = loader.widgets?.find((each) => each.name === "image");
  const values = widget?.options?.values;
  const isNew = Array.isArray(values) && !values.includes(name); // the list was made when the page was loaded
  if (isNew) widget.options.values = [...values, name].sort();
  writeWidget(app, loader, "image", name);
  if (isNew && LiteGraph.vueNodesMode) refresh(app, loader); // their copy of the list shows no file that is not in it
  loader.setDirtyCanvas?.(true, true);
}

/** The middle of what is seen of the graph. */
function middleOf({ canvas }) {
  const [width, height] = [canvas.canvas.clientWidth, canvas.canvas.clientHeight];
  const { scale, offset } = canvas.ds;
  return [width / 2 / scale - offset[0], height / 2 / scale - offset[1]];
}

const titleOf = (node) => node.title || node.type;
