/**
 * What is known of a node's recipe and layout before anything runs: links are followed to the node that says it. Works on
 * ComfyUI's graph as it is; only what is read here is relied on.
 */

import { readChoice } from "./choice.mjs";
import { layoutOf, LayoutError } from "./layout.mjs";

/** Modes of a node that has no output. */
const MODES = { 2: "muted", 4: "bypassed" };
const SUBGRAPH_INPUT = -10; // the origin of links that come from a subgraph's border
export const DEEPEST = 200; // links that are followed; a workflow with a loop of links has no end
/** Widgets of Panel Layout that hold text. */
const TEXTS = ["columns_per_row", "boxes", "names", "prefix"];

/**
 * @typedef {object} Knowledge  what the server has told so far
 * @property {(task: string) => object | undefined} task  a published recipe
 * @property {(lora: string) => object | null | undefined} lora  a LoRA's recipe; null if it has none
 */

/**
 * @typedef {object} Source  the node and the output that are connected to an input
 * @property {object} node
 * @property {number} slot
 * @property {"" | "muted" | "bypassed"} silence  why nothing arrives from there
 */

/**
 * What is connected to an input, through reroutes, bypassed nodes and subgraphs; null if it cannot be told.
 * @returns {Source | null}
 */
export function source(node, inputName) {
  const input = node.inputs?.find((candidate) => candidate.name === inputName);
  return input ? behind(node, input) : null;
}

/**
 * The recipe that arrives at an input, as JSON; null if it is not known.
 * @param {object} node
 * @param {string} inputName
 * @param {Knowledge} knowledge
 */
export function recipeAt(node, inputName, knowledge, depth = 0) {
  const from = depth < DEEPEST ? source(node, inputName) : null;
  return from ? recipeOf(from.node, knowledge, depth + 1) : null;
}

/**
 * The recipe that a node gives, as JSON; null if it is not known.
 * @param {object} node
 * @param {Knowledge} knowledge
 */
export function recipeOf(node, knowledge, depth = 0) {
  switch (node.type) {
    case "InContextTask":
      return isGiven(node, "task") ? null : (knowledge.task(valueOf(node, "task")) ?? null);
    case "InContextLoadLora":
      if (isGiven(node, "lora_name")) return null;
      return knowledge.lora(valueOf(node, "lora_name")) ?? recipeAt(node, "recipe_if_missing", knowledge, depth);
    case "InContextLayout":
      return layoutRecipe(node, knowledge, depth);
    case "InContextStitchPanels":
    case "InContextRepaintPanels":
      return recipeAt(node, "layout", knowledge, depth);
    default:
      return null;
  }
}

/**
 * Why what can be shown at an input will not be sent: its node is muted or bypassed, or has an error.
 * @returns {{title: string, reason: "muted" | "bypassed" | "impossible"} | null}
 */
export function troubleAt(node, inputName, depth = 0) {
  const from = depth < DEEPEST ? source(node, inputName) : null;
  if (!from) return null;
  const title = from.node.title ?? from.node.type;
  if (from.silence) return { title, reason: from.silence };
  if (from.node.type === "InContextLayout") return layoutAt(from.node).error ? { title, reason: "impossible" } : null;
  const passed = { InContextStitchPanels: "layout", InContextRepaintPanels: "layout" }[from.node.type];
  return passed ? troubleAt(from.node, passed, depth + 1) : null;
}

/**
 * The layout that a Panel Layout node's widgets make: while they make none, the last one that they made.
 * @returns {{layout: import("./layout.mjs").Layout | null, values: object | null, error: string}} no values where another
 *   node gives one of them
 */
export function layoutAt(node) {
  const values = layoutValues(node);
  if (!values) return { layout: null, values, error: "" };
  try {
    const layout = layoutOf(values);
    remember(node, layout);
    return { layout, values, error: "" };
  } catch (error) {
    if (!(error instanceof LayoutError)) throw error;
    return { layout: remembered(node), values, error: error.message };
  }
}

/** The widgets of Panel Layout by name; null if another node gives one of them. */
function layoutValues(node) {
  const names = (node.widgets ?? []).map((widget) => widget.name);
  if (names.some((name) => isGiven(node, name))) return null;
  return Object.fromEntries(names.map((name) => [name, TEXTS.includes(name) ? textOf(node, name) : valueOf(node, name)]));
}

/**
 * The last layout of each Panel Layout, by its place: an undo makes all nodes again, and a layout may still be impossible.
 * @type {WeakMap<object, Map<string, import("./layout.mjs").Layout>>}
 */
const lastLayouts = new WeakMap();

const placeOf = ({ graph, id }) => `${graph?.rootGraph?.id}/${graph?.id}/${id}`;

function remember(node, layout) {
  const root = node.graph?.rootGraph ?? node.graph ?? node;
  if (!lastLayouts.has(root)) lastLayouts.set(root, new Map());
  lastLayouts.get(root).set(placeOf(node), layout);
}

const remembered = (node) => lastLayouts.get(node.graph?.rootGraph ?? node.graph ?? node)?.get(placeOf(node)) ?? null;

/** Panels of a recipe's layout, as `layoutOf` makes them. */
export function layoutFrom(recipe) {
  const { width, height, panels } = recipe.layout;
  const boxes = panels.map(({ box: [left, top, wide, high] }) => ({ left, top, width: wide, height: high }));
  return { width, height, boxes, names: panels.map((panel) => panel.name) };
}

/**
 * What becomes of each panel of a Stitch Panels or Repaint Panels node.
 * @param {object} node
 * @param {string[]} names  of its panels
 * @returns {("given" | "opened" | "generated")[] | null} opened: given, but for what its mask opens; null if a list comes
 *   in, whose length is not known, or another node says which panels
 */
export function panelStates(node, names) {
  if (node.type === "InContextRepaintPanels") {
    if (isGiven(node, "panels")) return null;
    const { chosen } = readChoice(textOf(node, "panels"), names);
    return names.map((_, index) => (chosen.includes(index) ? "generated" : "given"));
  }
  if (isLinked(node, "images") || isLinked(node, "masks")) return null;
  return names.map((_, index) => {
    if (!arrives(node, `panel_${index + 1}`)) return "generated";
    return arrives(node, `mask_${index + 1}`) ? "opened" : "given";
  });
}

/** Whether something is connected to an input, and not from a node that is muted or bypassed. */
const arrives = (node, inputName) => isLinked(node, inputName) && !source(node, inputName)?.silence;

/** Whether a widget is shown on the face of a subgraph that its node is in, as older frontends note it; newer ones link it. */
export function isPromoted(node, widgetName) {
  const isThis = ([id, name]) => String(id) === String(node.id) && name === widgetName;
  return instances(node.graph).some(({ properties }) => {
    const promoted = properties?.proxyWidgets;
    return Array.isArray(promoted) && promoted.some(isThis);
  });
}

/** Whether something is connected to an input. */
export function isLinked(node, inputName) {
  return node.inputs?.some((input) => input.name === inputName && input.link != null) ?? false;
}

/** Whether another node gives a widget its value, which is not known before it runs. */
export function isGiven(node, widgetName) {
  return isLinked(node, widgetName) && !faceWidget(node, widgetName);
}

/**
 * The field on the face of a subgraph that is linked to a widget of a node inside, and holds its value; null if there is
 * none, where a node outside is connected to it, and where several nodes stand for the subgraph.
 */
export function faceWidget(node, widgetName) {
  const input = node.inputs?.find((candidate) => candidate.name === widgetName);
  const link = input?.link == null ? null : linkOf(node.graph, input.link);
  if (Number(link?.origin_id) !== SUBGRAPH_INPUT) return null;
  const [face, ...others] = instances(node.graph);
  const slot = others.length ? null : face?.inputs[link.origin_slot];
  if (!slot) return null;
  return slot.link == null ? (face.getWidgetFromSlot?.(slot) ?? null) : faceWidget(face, slot.name);
}

/** The widget that holds a value: the node's own, or the one on the face of its subgraph. */
export const holderOf = (node, widgetName) =>
  faceWidget(node, widgetName) ?? node.widgets?.find((widget) => widget.name === widgetName);

export const valueOf = (node, widgetName) => holderOf(node, widgetName)?.value;

/** A value as text: a workflow whose values have shifted may hold a number there, which ComfyUI sends as text too. */
export const textOf = (node, widgetName) => String(valueOf(node, widgetName) ?? "");

function layoutRecipe(node, knowledge, depth) {
  const { layout, values } = layoutAt(node);
  if (!layout) return null;
  const { width, height, boxes, names } = layout;
  const panels = boxes.map((box, index) => ({ name: names[index], box: [box.left, box.top, box.width, box.height] }));
  const base = recipeAt(node, "recipe", knowledge, depth) ?? { name: "custom", title: "Custom layout" };
  const prefix = values.prefix?.trim() || base.prefix || "";
  return { ...base, prefix, layout: { width, height, panels }, markers: panels.map((panel) => `[${panel.name}]`) };
}

function behind(node, input, depth = 0) {
  return node.graph && input.link != null && depth < DEEPEST ? origin(node.graph, input.link, depth + 1) : null;
}

/**
 * Where a link comes from: into subgraphs, and out of them where only one node stands for them.
 * @returns {Source | null}
 */
function origin(graph, id, depth) {
  const link = linkOf(graph, id);
  if (!link) return null;
  if (Number(link.origin_id) === SUBGRAPH_INPUT) { // newer ComfyUI writes ids as text
    const [instance, ...others] = instances(graph);
    const input = others.length ? null : instance?.inputs[link.origin_slot];
    return input ? behind(instance, input, depth) : null;
  }
  const node = graph.getNodeById(link.origin_id);
  if (!node) return null;
  if (node.type === "Reroute") return behind(node, node.inputs[0], depth);
  const silence = MODES[node.mode] ?? "";
  if (silence === "bypassed") {
    const type = node.outputs[link.origin_slot]?.type;
    const through = node.inputs.find((candidate) => candidate.type === type);
    const from = through ? behind(node, through, depth) : null;
    if (from) return from;
  }
  if (!node.subgraph) return { node, slot: link.origin_slot, silence };
  const [inside] = node.subgraph.outputs[link.origin_slot]?.linkIds ?? [];
  const from = inside == null ? null : origin(node.subgraph, inside, depth);
  return from && { ...from, silence: from.silence || silence };
}

/** A link by its id. */
export const linkOf = (graph, id) => graph?.getLink?.(id) ?? graph?.links?.[id];

/** The nodes that stand for a subgraph. */
export function instances(graph) {
  const root = graph?.rootGraph;
  if (!root || root === graph) return [];
  const graphs = [root, ...(root.subgraphs?.values() ?? [])];
  return graphs.flatMap((other) => other.nodes.filter((node) => node.subgraph === graph));
}
