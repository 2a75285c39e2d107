/** The layout on its nodes: a picture that can be edited, and only the widgets and inputs that the layout uses. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { loadStyles } from "./lib/dom.mjs";
import { layoutOf, LayoutError } from "./lib/layout.mjs";
import { lookNow, ourNodes, watchGraph, watchNode } from "./lib/graph.mjs";
import { Picture } from "./lib/picture.mjs";
import { recipes } from "./lib/recipes.mjs";
import { givenPanels, layoutFrom, layoutValues, recipeAt, recipeOf, source } from "./lib/upstream.mjs";
import { addElement, keepInputs, refresh, showWidgets, writeWidgets } from "./lib/widgets.mjs";
import { wordsOf } from "./lib/words.mjs";

const PICTURE = "layout_picture";
const EDITABLE_HEIGHT = 220;
const PLAIN_HEIGHT = 120;
/** Which widgets of Panel Layout a kind uses, beside those that all use. */
const USED = {
  rows: ["rows", "gutter"],
  columns: ["columns", "gutter"],
  grid: ["rows", "columns", "gutter"],
  "nested rows": ["columns_per_row", "gutter"],
  boxes: ["boxes"],
};
const OPTIONAL = new Set(Object.values(USED).flat());

/** What each node shows: a layout, which panels are given, or why there is nothing to see. */
const SHOWN = {
  InContextTask: (node) => ofRecipe(recipeOf(node, known)),
  InContextLoadLora: (node) => {
    const recipe = recipeOf(node, known);
    return recipe ? ofRecipe(recipe) : nothing(words.noRecipe);
  },
  InContextLayout: (node) => {
    const values = layoutValues(node);
    if (!values) return nothing(words.elsewhere);
    try {
      return { layout: layoutOf(values), given: null, message: "", isProblem: false, values };
    } catch (error) {
      if (!(error instanceof LayoutError)) throw error;
      return { ...nothing(error.message), isProblem: true };
    }
  },
  InContextStitchPanels: (node) => ofStitched(node),
  InContextConditionPanels: (node) => {
    const stitching = ["canvas", "mask", "layout"]
      .map((input) => source(node, input)?.node)
      .find((from) => from?.type === "InContextStitchPanels");
    return stitching ? ofStitched(stitching) : ofRecipe(recipeAt(node, "layout", known));
  },
};

let words = wordsOf("en");
const known = recipes(api);
/** @type {WeakMap<object, {picture: Picture, drawn: string}>} */
const states = new WeakMap();

app.registerExtension({
  name: "InContextLora.Layout",

  setup() {
    loadStyles();
    words = wordsOf(app.extensionManager.setting.get("Comfy.Locale"));
    watchGraph(app, api, () => ourNodes(app, SHOWN).forEach(update));
  },

  nodeCreated(node) {
    if (!(node.comfyClass in SHOWN)) return;
    const isEditor = node.comfyClass === "InContextLayout";
    const picture = new Picture(words, (changes) => writeWidgets(app, node, changes));
    watchNode(node);
    states.set(node, { picture, drawn: "" });
    addElement(app, node, PICTURE, picture.element, isEditor ? EDITABLE_HEIGHT : PLAIN_HEIGHT);
  },

  /** A workflow that was opened is as it was saved once it is shown: what follows from it is no change of it. */
  async afterConfigureGraph() {
    lookNow();
    await known.settled();
    lookNow();
  },

  refreshComboInNodes: () => known.forget(), // there may be new LoRAs
});

function update(node) {
  const state = states.get(node);
  if (!state) return;
  const shown = SHOWN[node.comfyClass](node);
  const drawn = JSON.stringify(shown);
  if (drawn !== state.drawn) {
    state.drawn = drawn;
    state.picture.show(shown);
  }
  let changed = false;
  if (node.comfyClass === "InContextLayout") {
    const used = USED[node.widgets.find((widget) => widget.name === "kind").value] ?? [];
    changed = showWidgets(node, (name) => !OPTIONAL.has(name) || used.includes(name));
  }
  if (node.comfyClass === "InContextStitchPanels") {
    const count = shown.layout?.boxes.length ?? Infinity;
    changed = keepInputs(node, (name) => numberOf(name) <= count);
  }
  if (changed) refresh(app, node);
}

function ofRecipe(recipe) {
  if (!recipe) return nothing(words.unknown);
  return { layout: layoutFrom(recipe), given: null, message: "", isProblem: false, values: null };
}

function ofStitched(node) {
  const recipe = recipeAt(node, "layout", known);
  if (!recipe) return nothing(words.unknown);
  const given = givenPanels(node, recipe.layout.panels.length);
  return { ...ofRecipe(recipe), given, message: given ? "" : words.listed };
}

const nothing = (message) => ({ layout: null, given: null, message, isProblem: false, values: null });

/** The number in a name such as panel_3; 0 for other inputs, which always stay. */
const numberOf = (name) => Number(/^(?:panel|mask)_(\d+)$/.exec(name)?.[1] ?? 0);
