/** The layout on its nodes: a picture that can be edited, and only the widgets and inputs that the layout uses. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { readChoice, toggleChoice } from "./lib/choice.mjs";
import { loadStyles } from "./lib/dom.mjs";
import { forgetPictures } from "./lib/drawing.mjs";
import { givenPictures, LOADERS } from "./lib/given.mjs";
import { lookAgain, lookNow, ourNodes, watchGraph, watchNode } from "./lib/graph.mjs";
import { addressOf, outputOf } from "./lib/outputs.mjs";
import { translator } from "./lib/messages.mjs";
import { Picture } from "./lib/picture.mjs";
import { recipes } from "./lib/recipes.mjs";
import { isGiven, layoutAt, layoutFrom, panelStates, recipeAt, recipeOf, source, textOf, troubleAt, valueOf } from "./lib/upstream.mjs";
import { addElement, fitSize, growInputs, isElement, keepInputs, refresh, showWidgets, writeWidgets } from "./lib/widgets.mjs";
import { fill, wordsOf } from "./lib/words.mjs";

const PICTURE = "layout_picture";
const EDITABLE_HEIGHT = 220;
const PLAIN_HEIGHT = 120;
const NUMBERED_PANELS = 9; // inputs that Stitch Panels has by itself
/** Which widgets of Panel Layout a kind uses, beside those that all use. */
const USED = {
  rows: ["rows", "gutter"],
  columns: ["columns", "gutter"],
  grid: ["rows", "columns", "gutter"],
  "nested rows": ["columns_per_row", "gutter"],
  boxes: ["boxes"],
};
const OPTIONAL = new Set(Object.values(USED).flat());

/** What each node shows: a layout, what becomes of its panels, or why there is nothing to see. */
const SHOWN = {
  InContextTask: (node) => ofRecipe(recipeOf(node, known)),
  InContextLoadLora: (node) => {
    const recipe = recipeOf(node, known);
    return recipe ? ofRecipe(recipe) : nothing(words.noRecipe);
  },
  InContextLayout: (node) => {
    const { layout, values, error } = layoutAt(node);
    if (!values) return nothing(words.elsewhere);
    return { layout, states: null, message: translate(error), isProblem: error !== "", values: error ? null : values };
  },
  InContextStitchPanels: (node) => ofPanels(node),
  InContextRepaintPanels: (node) => withChoice(node, ofPanels(node)),
  InContextBuildDataset: (node) => withChoice(node, ofRecipe(recipeAt(node, "recipe", known), troubleAt(node, "recipe"))),
  InContextConditionPanels: (node) => {
    const origins = ["layout", "canvas", "mask"].map((input) => source(node, input)?.node);
    const panels = origins.find((from) => from?.type in PANEL_STATES);
    return panels ? ofPanels(panels) : ofRecipe(recipeAt(node, "layout", known), troubleAt(node, "layout"));
  },
};
/** Where panels are chosen: the widget that lists them, what chosen ones and the others are, and what is wrong without any. */
const CHOICES = {
  InContextRepaintPanels: { widget: "panels", states: ["generated", "given"], none: "noneChosen" },
  InContextBuildDataset: { widget: "references", states: ["reference", "learned"], none: "" },
};
const PANEL_STATES = { InContextStitchPanels: true, InContextRepaintPanels: true };

/** @type {import("./lib/given.mjs").Host} */
const host = {
  outputsOf(node) {
    const { images, incontext_after: changed } = outputOf(app, node);
    return images ?? changed ?? [];
  },
  addressOf: (file) => addressOf(api, file),
};
let words = wordsOf("en");
let translate = translator("en");
const known = recipes(api);
/** @type {WeakMap<object, {picture: Picture, drawn: string}>} */
const states = new WeakMap();

app.registerExtension({
  name: "InContextLora.Layout",

  setup() {
    loadStyles("picture", "choice", "given");
    const locale = app.extensionManager.setting.get("Comfy.Locale");
    words = wordsOf(locale);
    translate = translator(locale);
    watchGraph(app, api, () => ourNodes(app, SHOWN).forEach(update));
    api.addEventListener("executed", lookAgain); // nodes may show pictures now
  },

  nodeCreated(node) {
    if (LOADERS.has(node.comfyClass)) watchNode(node); // another file may be chosen
    if (!(node.comfyClass in SHOWN)) return;
    const isEditor = node.comfyClass === "InContextLayout";
    const picture = new Picture(words, (changes) => writeWidgets(app, node, changes), (index) => choose(node, index));
    watchNode(node);
    states.set(node, { picture, drawn: "" });
    addElement(app, node, PICTURE, picture.element, isEditor ? EDITABLE_HEIGHT : PLAIN_HEIGHT);
    // before the sets of a dataset, whose panels it shows
    const widgets = node.widgets ?? [];
    widgets.splice(widgets.findIndex(isElement), 0, ...widgets.splice(-1));
  },

  /** A workflow that was opened is as it was saved once it is shown: what follows from it does not change it. */
  async afterConfigureGraph() {
    lookNow();
    await known.settled();
    lookNow();
  },

  /** There may be new LoRAs, and other pictures under the same names. */
  refreshComboInNodes() {
    forgetPictures();
    for (const node of ourNodes(app, SHOWN)) if (states.has(node)) states.get(node).drawn = "";
    known.forget();
  },
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
    const used = USED[valueOf(node, "kind")] ?? [];
    changed = showWidgets(node, (name) => !OPTIONAL.has(name) || used.includes(name));
  }
  if (node.comfyClass === "InContextStitchPanels") {
    const open = openPanels(node, shown.layout?.boxes.length ?? NUMBERED_PANELS);
    const grown = growInputs(node, [...numbered("panel", open, "IMAGE"), ...numbered("mask", open, "MASK")]);
    const present = new Set(node.inputs.map((input) => input.name)); // inputs of other kinds are left alone
    changed = keepInputs(node, (name) => (numberOf(name) ? numberOf(name) <= open : present.has(name))) || grown;
  }
  if (changed) refresh(app, node);
  fitSize(node);
}

function ofRecipe(recipe, trouble = null) {
  if (!recipe) return nothing(words.unknown);
  const message = trouble ? fill(words[trouble.reason], trouble) : "";
  return { layout: layoutFrom(recipe), states: null, message, isProblem: message !== "", values: null };
}

function ofPanels(node) {
  const recipe = recipeAt(node, "layout", known);
  const shown = ofRecipe(recipe, troubleAt(node, "layout"));
  if (!recipe) return shown;
  const states = panelStates(node, shown.layout.names);
  const pictures = givenPictures(node, shown.layout, host);
  const isListed = !states && node.type === "InContextStitchPanels";
  return { ...shown, states, pictures, message: shown.message || (isListed ? words.listed : "") };
}

/** What is shown where panels can be chosen, unless another node chooses them. */
function withChoice(node, shown) {
  const { widget, states: [ifChosen, ifNot], none } = CHOICES[node.comfyClass];
  if (!shown.layout) return shown;
  if (isGiven(node, widget)) return { ...shown, states: null, message: shown.message || words.chosenElsewhere };
  const { names } = shown.layout;
  const { chosen: indices, unknown } = readChoice(textOf(node, widget), names);
  const chosen = names.map((_, index) => indices.includes(index));
  const states = chosen.map((each) => (each ? ifChosen : ifNot));
  const refusal = unknown.length
    ? fill(words.noSuchPanel, { panel: unknown[0], count: names.length, names: names.join(", ") })
    : indices.length ? "" : (words[none] ?? "");
  if (shown.message || !refusal) return { ...shown, states, chosen };
  return { ...shown, states, chosen, message: refusal, isProblem: true };
}

function choose(node, index) {
  const { widget } = CHOICES[node.comfyClass];
  const { names } = SHOWN[node.comfyClass](node).layout;
  writeWidgets(app, node, { [widget]: toggleChoice(textOf(node, widget), names, index) });
}

const nothing = (message) => ({ layout: null, states: null, message, isProblem: false, values: null });

/** The number in a name such as panel_3; 0 for other inputs. */
const numberOf = (name) => Number(/^(?:panel|mask)_(\d+)$/.exec(name)?.[1] ?? 0);

/** How many panels have inputs of their own: nine; with more panels, one more than the last that is connected. */
function openPanels(node, count) {
  const connected = node.inputs.filter((input) => input.link != null).map((input) => numberOf(input.name));
  return Math.min(count, Math.max(NUMBERED_PANELS, 1 + Math.max(0, ...connected)));
}

/** Inputs for the panels that the node's definition has none for. */
const numbered = (kind, count, type) =>
  Array.from({ length: Math.max(0, count - NUMBERED_PANELS) }, (_, index) => {
    const number = NUMBERED_PANELS + 1 + index;
    return { name: `${kind}_${number}`, type, after: `${kind}_${number - 1}` };
  });
