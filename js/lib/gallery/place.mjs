/** Pictures of sets into the workflow that is open. */

import { fill } from "../words.mjs";
import { holdUndo } from "../widgets.mjs";

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
    addLoader(app, name, middleOf(app));
    return fill(words.asNew, { name });
  }
  const input = freePanel(only);
  const number = Number(input?.name.slice("panel_".length) ?? 1);
  const loader = addLoader(app, name, null);
  loader.pos = [only.pos[0] - loader.size[0] - GAP, only.pos[1] + (number - 1) * GAP];
  if (!input) return fill(words.noFreePanel, { name, title: titleOf(only) });
  loader.connect(0, only, only.inputs.indexOf(input));
  return fill(words.onStitch, { name, title: titleOf(only), input: input.localized_name || input.name });
}

/** The first input for a panel to which nothing is connected. */
export function freePanel(node) {
  return (node.inputs ?? []).find(({ name, link }) => /^panel_\d+$/.test(name) && link == null);
}

/** A new Load Image with this picture. */
export function addLoader(app, name, middle) {
  const loader = add(app, LOAD, [0, 0]);
  showPicture(app, loader, name);
  if (middle) loader.pos = [middle[0] - loader.size[0] / 2, middle[1] - loader.size[1] / 2];
  return loader;
}

/** A new node in the graph that is shown. */
export function add(app, type, pos, graph = app.canvas.graph) {
  const node = LiteGraph.createNode(type);
  if (!node) throw new Error(`${type}?`);
  node.pos = pos;
  graph.add(node);
  return node;
}

/** Give a widget a value as its editor does. */
export function setWidget(app, node, name, value) {
  const widget = node.widgets?.find((each) => each.name === name);
  if (!widget) return;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
}

function showPicture(app, loader, name) {
  const widget = loader.widgets?.find((each) => each.name === "image");
  const values = widget?.options?.values;
  // the list was made when the page was loaded
  if (Array.isArray(values) && !values.includes(name)) widget.options.values = [...values, name].sort();
  setWidget(app, loader, "image", name);
  loader.setDirtyCanvas?.(true, true);
}

/** The middle of what is seen of the graph. */
function middleOf({ canvas }) {
  const [width, height] = [canvas.canvas.clientWidth, canvas.canvas.clientHeight];
  const { scale, offset } = canvas.ds;
  return [width / 2 / scale - offset[0], height / 2 / scale - offset[1]];
}

const titleOf = (node) => node.title || node.type;
