/**
 * What is known of a node's recipe and layout before anything runs: links are followed to the node that says it. Works on
 * ComfyUI's graph as it is; only what is read here is relied on.
 */

import { layoutOf, LayoutError } from "./layout.mjs";

const BYPASSED = 4;

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
  const graph = node.graph;
  if (!graph || input.link == null) return null;
  const link = graph.getLink?.(input.link) ?? graph.links?.[input.link];
  const origin = link && graph.getNodeById(link.origin_id);
  if (!origin) return null; // the border of a subgraph
  if (origin.type === "Reroute") return behind(origin, origin.inputs[0]);
  if (origin.mode === BYPASSED) {
    const type = origin.outputs[link.origin_slot]?.type;
    const through = origin.inputs.find((candidate) => candidate.type === type);
    return through ? behind(origin, through) : null;
  }
  const inside = origin.resolveSubgraphOutputLink?.(link.origin_slot)?.outputNode;
  return inside ? { node: inside, slot: 0 } : { node: origin, slot: link.origin_slot };
}
