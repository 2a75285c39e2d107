/**
 * Widgets and inputs of a node in both renderers: the classic canvas reads them from the node, Nodes 2.0 keeps a copy that
 * is rebuilt when a node is reported as added.
 */

import { faceWidget, holderOf, instances, isLinked, isPromoted, linkOf } from "./upstream.mjs";

/** @type {WeakMap<object, {order: string[], removed: Map<string, object>}>} */
const slots = new WeakMap();
const MARGIN = 8; // around an element on the classic canvas, in pixels
let elements = 0; // made so far
const FRAMES = 4; // until Nodes 2.0 have measured a node that shows other widgets
const ELEMENT = "INCONTEXT_"; // how the type of a widget begins that shows an element of ours
const NO_SIZE = () => [0, -4]; // the classic canvas adds 4 to every widget's height

/**
 * Show the widgets that are wanted, those that another node gives a value to, and those on the face of a subgraph. The
 * inputs of the others go with them.
 * @param {object} node
 * @param {(name: string) => boolean} isWanted
 * @param {(name: string) => boolean} [hasInput]  whether a widget has an input, where that differs from `isWanted`
 * @returns {boolean} whether anything changed
 */
export function showWidgets(node, isWanted, hasInput = isWanted) {
  let changed = false;
  for (const widget of node.widgets ?? []) {
    if (showWidget(widget, isWanted(widget.name) || isUsedElsewhere(node, widget.name))) changed = true;
    const face = faceWidget(node, widget.name);
    if (face && showWidget(face, true)) changed = true; // made while the node's own was hidden
  }
  const names = new Set(node.widgets?.map((widget) => widget.name));
  return keepInputs(node, (name) => !names.has(name) || hasInput(name)) || changed;
}

/** Whether a widget has a wire, or is on the face of a subgraph: it is not hidden then. */
export const isUsedElsewhere = (node, name) => isLinked(node, name) || isPromoted(node, name);

/** Show or hide one widget; returns whether that changed anything. */
export function showWidget(widget, isShown) {
  const hidden = !isShown;
  if (Boolean(widget.hidden) === hidden && Boolean(widget.options.hidden) === hidden) return false;
  widget.hidden = hidden; // for the classic canvas, which leaves the room of hidden widgets empty
  if (hidden) widget.computeSize = NO_SIZE;
  else delete widget.computeSize;
  // For Nodes 2.0. Newer frontends keep a copy of the options by the node's id, and give one to the face of a subgraph: none of
  // them may say more than this widget. Older ones show what a copy says.
  const enumerable = !("widgetId" in widget);
  Object.defineProperty(widget.options, "hidden", { value: hidden, enumerable, writable: true, configurable: true });
  return true;
}

/**
 * Keep the inputs that are wanted, in their own order; those that are connected always stay.
 * @param {object} node
 * @param {(name: string) => boolean} isWanted
 * @returns {boolean} whether anything changed
 */
export function keepInputs(node, isWanted) {
  const { order, removed } = slotsOf(node);
  const present = new Set((node.inputs ?? []).map((input) => input.name));
  const missing = order.filter((name) => isWanted(name) && !present.has(name) && removed.has(name));
  const superfluous = (node.inputs ?? []).filter((input) => input.link == null && order.includes(input.name) && !isWanted(input.name));
  for (const input of superfluous) {
    node.removeInput(node.inputs.indexOf(input));
    removed.set(input.name, input);
  }
  if (missing.length) {
    node.inputs.push(...missing.map((name) => removed.get(name)));
    sortInputs(node, order);
  }
  return missing.length + superfluous.length > 0;
}

/**
 * Add inputs that the node's definition does not have: ComfyUI saves them, and passes on what is connected to them.
 * @param {object} node
 * @param {{name: string, type: string, after: string}[]} wanted  each behind an input that is there already
 * @returns {boolean} whether anything changed
 */
export function growInputs(node, wanted) {
  const { order } = slotsOf(node);
  order.push(...node.inputs.map((input) => input.name).filter((name) => !order.includes(name))); // saved with the workflow
  const missing = wanted.filter(({ name }) => !order.includes(name));
  for (const { name, type, after } of missing) {
    order.splice(order.indexOf(after) + 1, 0, name);
    node.addInput(name, type);
  }
  if (missing.length) sortInputs(node, order);
  return missing.length > 0;
}

/** The names of a node's inputs in their order, and those that are left out for now. */
function slotsOf(node) {
  if (!slots.has(node)) slots.set(node, { order: (node.inputs ?? []).map((input) => input.name), removed: new Map() });
  return slots.get(node);
}

function sortInputs(node, order) {
  const place = ({ name }) => (order.includes(name) ? order.indexOf(name) : order.length);
  node.inputs.sort((one, other) => place(one) - place(other));
  numberLinks(node);
}

/**
 * Give the links to a node the numbers of its inputs as they stand now. A saved workflow numbers them without the inputs that
 * were left out, or that came with a later version. Older frontends find the fields on the face of a subgraph by these numbers.
 */
export function numberLinks(node) {
  node.inputs?.forEach((input, slot) => {
    const link = input.link == null ? null : linkOf(node.graph, input.link);
    if (link) link.target_slot = slot;
  });
}

/**
 * Give widgets their values as their editors do, in one step for undo.
 * @param {object} app
 * @param {object} node
 * @param {Record<string, unknown>} changes
 */
export function writeWidgets(app, node, changes) {
  holdUndo(app);
  for (const [name, value] of Object.entries(changes)) writeWidget(app, node, name, value);
  node.setDirtyCanvas(true, true);
}

/** Give a widget its value, where it is held: on the node, or on the face of its subgraph. */
export function writeWidget(app, node, name, value) {
  const widget = holderOf(node, name);
  if (!widget) return;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
}

/** Let what happens within the next frames be one step for undo; in Nodes 2.0 that is when the node has its new size. */
export function holdUndo(app) {
  app.canvas.emitBeforeChange();
  afterFrames(FRAMES, () => app.canvas.emitAfterChange());
}

/**
 * Call `act` after a widget has got a value from its editor.
 *
 * Nodes 2.0 of older frontends show a widget on the face of a subgraph with a copy of its value, and pass what is typed there
 * to the callback alone: it is given to the widget here.
 */
export function onWidget(widget, act) {
  const before = widget.callback;
  widget.callback = function (...values) {
    if (values[0] !== undefined && widget.type !== "button" && widget.value !== values[0]) widget.value = values[0];
    const result = before?.apply(this, values);
    act();
    return result;
  };
}

function afterFrames(count, act) {
  if (count === 0) act();
  else requestAnimationFrame(() => afterFrames(count - 1, act));
}

/** Show what has changed. The classic canvas finds a node's size while it draws; done at once, that is part of the change. */
export function refresh(app, node) {
  if (!LiteGraph.vueNodesMode) {
    app.canvas.draw(true, true);
    fitSize(node);
    return;
  }
  // its widgets may also be on the face of its subgraph
  for (const each of [node, ...instances(node.graph)]) each.graph?.onNodeAdded?.(each);
}

/**
 * Give a node the size that ComfyUI gives it when a workflow is opened, a little larger than drawing makes it. An undo opens
 * a workflow too, and a node that grew after it would count as a change by the user, which ends the redo.
 */
export function fitSize(node) {
  if (LiteGraph.vueNodesMode) return; // the page has its own sizes
  const [width, height] = node.computeSize();
  if (node.size[0] < width || node.size[1] < height)
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
}

/**
 * Show an element on a node; it holds none of the node's values.
 *
 * Nodes 2.0 put a widget's element in place once, and keep it for any later widget of the same name and number: after an undo,
 * or on another tab, they would still show the element of a node that is gone. So each widget has a unique name, which makes
 * them ask the new node for its element. Newer frontends compare the type instead, and find the fields of an app by their
 * names, so there the type is unique.
 * @param {object} app
 * @param {object} node
 * @param {string} name
 * @param {HTMLElement} element
 * @param {number | (() => number)} minHeight  a number where it never changes; Nodes 2.0 then keep it too
 */
export function addElement(app, node, name, element, minHeight) {
  if (typeof minHeight === "number") element.style.setProperty("--incontext-min-height", `${minHeight}px`);
  element.addEventListener("wheel", (event) => {
    // Nodes 2.0 lie within the canvas and hand the wheel on by themselves
    if (!LiteGraph.vueNodesMode) app.canvas.processMouseWheel(event);
  });
  const type = ELEMENT + name.toUpperCase();
  const own = ` ${++elements}`;
  const isNewer = node.widgets?.some((each) => "widgetId" in each);
  const widget = node.addDOMWidget(isNewer ? name : name + own, isNewer ? type + own : type, element, {
    getMinHeight: () => (typeof minHeight === "number" ? minHeight : minHeight()) + 2 * MARGIN,
    margin: MARGIN,
    hideOnZoom: false,
    serialize: false, // not part of the prompt
  });
  widget.serialize = false; // not part of a saved workflow
  return widget;
}

/** Whether a widget shows an element that `addElement` put on its node. */
export function isElement(widget) {
  return String(widget.type ?? "").startsWith(ELEMENT);
}
