/** The joint caption on its node: one field a panel, the caption as it will be sent, its tokens, what is to be mended. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { CaptionEditor, MOST_PANELS } from "./lib/caption_editor.mjs";
import { loadStyles } from "./lib/dom.mjs";
import { lookNow, ourNodes, watchGraph, watchNode } from "./lib/graph.mjs";
import { recipes } from "./lib/recipes.mjs";
import { ask } from "./lib/server.mjs";
import { isLinked, recipeAt, valueOf } from "./lib/upstream.mjs";
import { addElement, refresh, showWidgets, writeWidgets } from "./lib/widgets.mjs";
import { wordsOf } from "./lib/words.mjs";

const NODE = { InContextJointCaption: true };
const EDITOR = "caption_editor";
const PLAIN = "incontext_plain_fields"; // a property of the node, saved with the workflow
const PANELS = Array.from({ length: MOST_PANELS }, (_, index) => `panel_${index + 1}`);
const FIELDS = ["summary", ...PANELS];
const PAUSE = 300; // milliseconds without typing before the server is asked

let words = wordsOf("en");
const known = recipes(api);
/** @type {WeakMap<object, {editor: CaptionEditor, shown: string, asked: string, timer: number}>} */
const states = new WeakMap();

app.registerExtension({
  name: "InContextLora.Caption",

  setup() {
    loadStyles();
    words = wordsOf(app.extensionManager.setting.get("Comfy.Locale"));
    watchGraph(app, api, () => ourNodes(app, NODE).forEach(update));
  },

  nodeCreated(node) {
    if (!(node.comfyClass in NODE)) return;
    watchNode(node);
    const editor = new CaptionEditor(words, {
      input: (field, text) => write(node, field, text),
      paste: (caption) => paste(node, caption),
      plain: (isPlain) => {
        app.canvas.emitBeforeChange();
        node.properties[PLAIN] = isPlain;
        lookNow();
        app.canvas.emitAfterChange();
      },
    });
    states.set(node, { editor, shown: "", asked: "", timer: 0 });
    addElement(app, node, EDITOR, editor.element, () => editor.minHeight);
  },
});

function update(node) {
  const state = states.get(node);
  if (!state) return;
  const recipe = recipeAt(node, "recipe", known);
  const isPlain = node.properties[PLAIN] === true;
  const count = recipe ? recipe.layout.panels.length : MOST_PANELS;
  const linked = FIELDS.filter((name) => isLinked(node, name));
  const texts = Object.fromEntries(FIELDS.map((name) => [name, valueOf(node, name)]));
  const key = JSON.stringify([recipe, isPlain, linked, texts]);
  if (key !== state.shown) {
    state.shown = key;
    state.editor.show({ recipe, texts, linked: new Set(linked), isPlain });
  }
  const isShown = (name) => !FIELDS.includes(name) || ((!recipe || isPlain) && PANELS.indexOf(name) < count);
  if (showWidgets(node, isShown)) refresh(app, node);
  if (recipe) check(node, state, recipe, texts, linked);
}

/** Ask the server what the caption will be, once nothing has changed for a moment. */
function check(node, state, recipe, texts, linked) {
  const own = (name) => (linked.includes(name) ? "" : texts[name]);
  const question = {
    recipe,
    summary: own("summary"),
    panels: PANELS.map(own),
    names: isLinked(node, "names") ? "" : valueOf(node, "names"),
    escape_parentheses: valueOf(node, "escape_parentheses"),
  };
  const asked = JSON.stringify([question, linked]);
  if (asked === state.asked) return;
  const isFirst = !state.asked;
  state.asked = asked;
  clearTimeout(state.timer);
  state.timer = setTimeout(
    async () => {
      const answer = await ask(api, "caption", question);
      if (state.asked === asked) state.editor.tell(answer); // else a later question is under way
    },
    isFirst ? 0 : PAUSE,
  );
}

/** What is typed goes into the node's own field; undo takes it as one step once the field is left. */
function write(node, field, text) {
  const widget = node.widgets.find((candidate) => candidate.name === field);
  widget.value = text;
  widget.callback?.(text, app.canvas, node);
}

/** Let a whole caption fall into its fields; returns why it does not, or nothing. */
async function paste(node, caption) {
  const recipe = recipeAt(node, "recipe", known);
  const parts = await ask(api, "parse_caption", { recipe, caption });
  if (!parts) return words.noAnswer;
  if (parts.error) return parts.error;
  const texts = { summary: parts.summary };
  parts.panels.slice(0, MOST_PANELS).forEach((text, index) => (texts[PANELS[index]] = text));
  writeWidgets(app, node, Object.fromEntries(Object.entries(texts).filter(([name]) => !isLinked(node, name))));
  return "";
}
