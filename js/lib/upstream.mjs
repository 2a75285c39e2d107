/**
 * What is known of a node's recipe and layout before anything runs: links are followed to the node that says it. Works on
 * ComfyUI's graph as it is; only what is read here is relied on.
 */

import { layoutOf, LayoutError } from "./layout.mjs";

const BYPASSED = 4;
const SUBGRAPH_INPUT = -10; // as links say that come from a subgraph's border

/**
 * @typedef {object} Knowledge  what the server has told so far
 * @property {(task: string) => object | undefined} task  a published recipe
 * @property {(lora: string) => object | null | undefined} lora  a LoRA's recipe; null where it has none
 */

/**
 * The node and the output that are connected to an input, behind reroutes, bypassed nodes and subgraphs.
 * @returns {{node: object, slot: number} | null}
 */
export function source(node, inputName) {
  const input = node.inputs?.find((candidate) => candidate.name === inputName);
  return input ? behind(node, input) : null;
}

/**
 * The recipe that arrives at an input, as JSON; null where it is not known.
 * @param {object} node
 * @param {string} inputName
 * @param {Knowledge} knowledge
 */
export function recipeAt(node, inputName, knowledge) {
  const from = source(node, inputName);
  return from ? recipeOf(from.node, knowledge) : null;
}

/**
 * The recipe that a node gives, as JSON; null where it is not known.
 * @param {object} node
 * @param {Knowledge} knowledge
 */
export function recipeOf(node, knowledge) {
  switch (node.type) {
    case "InContextTask":
      return isLinked(node, "task") ? null : (knowledge.task(valueOf(node, "task")) ?? null);
    case "InContextLoadLora":
      if (isLinked(node, "lora_name")) return null;
      return knowledge.lora(valueOf(node, "lora_name")) ?? recipeAt(node, "recipe_if_missing", knowledge);
    case "InContextLayout":
      return layoutRecipe(node, knowledge);
    case "InContextStitchPanels":
      return recipeAt(node, "layout", knowledge);
    default:
      return null;
  }
}

/** The widgets of Panel Layout by name; null where another node gives one of them. */
export function layoutValues(node) {
  const values = Object.fromEntries(node.widgets.map((widget) => [widget.name, widget.value]));
  return Object.keys(values).some((name) => isLinked(node, name)) ? null : values;
}

/** Panels of a recipe's layout, as `layoutOf` makes them. */
export function layoutFrom(recipe) {
  const { width, height, panels } = recipe.layout;
  const boxes = panels.map(({ box: [left, top, wide, high] }) => ({ left, top, width: wide, height: high }));
  return { width, height, boxes, names: panels.map((panel) => panel.name) };
}

/**
 * Which panels of a Stitch Panels node are given.
 * @returns {boolean[] | null} null where a list of images comes in, whose length is not known
 */
export function givenPanels(node, count) {
  if (isLinked(node, "images")) return null;
  return Array.from({ length: count }, (_, index) => isLinked(node, `panel_${index + 1}`));
}

/** Whether something is connected to an input. */
export function isLinked(node, inputName) {
  return node.inputs?.some((input) => input.name === inputName && input.link != null) ?? false;
}

export function valueOf(node, widgetName) {
  return node.widgets?.find((widget) => widget.name === widgetName)?.value;
}

function layoutRecipe(node, knowledge) {
  const values = layoutValues(node);
  if (!values) return null;
  try {
    const { width, height, boxes, names } = layoutOf(values);
    const panels = boxes.map((box, index) => ({
      name: names[index],
      box: [box.left, box.top, box.width, box.height],
    }));
    const base = recipeAt(node, "recipe", knowledge) ?? { name: "custom", title: "Custom layout" };
    const prefix = values.prefix?.trim() || base.prefix || "";
    return { ...base, prefix, layout: { width, height, panels }, markers: panels.map((panel) => `[${panel.name}]`) };
  } catch (error) {
    if (error instanceof LayoutError) return null;
    throw error;
  }
}

function behind(node, input) {
  return node.graph && input.link != null ? origin(node.graph, input.link) : null;
}

/** Where a link comes from: into subgraphs, and out of them where only one node stands for them. */
function origin(graph, id) {
  const link = graph.getLink?.(id) ?? graph.links?.[id];
  if (!link) return null;
  if (Number(link.origin_id) === SUBGRAPH_INPUT) { // newer ComfyUI writes ids as text
    const [instance, ...others] = instances(graph);
    const input = others.length ? null : instance?.inputs[link.origin_slot];
    return input ? behind(instance, input) : null;
  }
  const node = graph.getNodeById(link.origin_id);
  if (!node) return null;
  if (node.type === "Reroute") return behind(node, node.inputs[0]);
  if (node.mode === BYPASSED) {
    const type = node.outputs[link.origin_slot]?.type;
    const through = node.inputs.find((candidate) => candidate.type === type);
    return through ? behind(node, through) : null;
  }
  if (!node.subgraph) return { node, slot: link.origin_slot };
  const [inside] = node.subgraph.outputs[link.origin_slot]?.linkIds ?? [];
  return inside == null ? null : origin(node.subgraph, inside);
}

/** The nodes that stand for a subgraph. */
function instances(graph) {
  const root = graph.rootGraph;
  const graphs = [root, ...(root?.subgraphs?.values() ?? [])];
  return graphs.flatMap((other) => other?.nodes.filter((node) => node.subgraph === graph) ?? []);
}
