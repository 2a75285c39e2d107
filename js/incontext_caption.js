/** The joint caption on its node: one field per panel, the caption as it will be sent, its tokens, and what to fix. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { MORE, PANEL_WIDGETS, panelTexts, widgetOf, wildcardsIn, writtenTexts } from "./lib/caption.mjs";
import { CaptionEditor } from "./lib/caption_editor.mjs";
import { loadStyles } from "./lib/dom.mjs";
import { lookNow, ourNodes, watchGraph, watchNode } from "./lib/graph.mjs";
import { translator } from "./lib/messages.mjs";
import { recipes } from "./lib/recipes.mjs";
import { ask } from "./lib/server.mjs";
import { isGiven, recipeAt, textOf, troubleAt, valueOf } from "./lib/upstream.mjs";
import { addElement, refresh, showWidgets, writeWidget, writeWidgets } from "./lib/widgets.mjs";
import { fill, wordsOf } from "./lib/words.mjs";

const NODE = { InContextJointCaption: true };
const EDITOR = "caption_editor";
const PLAIN = "incontext_plain_fields"; // a property of the node, saved with the workflow
const SEED = "wildcard_seed";
const TEXTS = ["summary", ...PANEL_WIDGETS, MORE];
const PAUSE = 300; // milliseconds without typing before the server is asked

let words = wordsOf("en");
let translate = translator("en");
const known = recipes(api);
/** @type {WeakMap<object, {editor: CaptionEditor, shown: string, asked: string, timer: number}>} */
const states = new WeakMap();

app.registerExtension({
  name: "InContextLora.Caption",

  setup() {
    loadStyles("caption");
    const locale = app.extensionManager.setting.get("Comfy.Locale");
    words = wordsOf(locale);
    translate = translator(locale);
    watchGraph(app, api, () => ourNodes(app, NODE).forEach(update));
  },

  nodeCreated(node) {
    if (!(node.comfyClass in NODE)) return;
    watchNode(node);
    const editor = new CaptionEditor(words, {
      input: (field, text) => write(node, field, text),
      commit: () => noteChange(node),
      undo: (isRedo) => app.extensionManager.command.execute(isRedo ? "Comfy.Redo" : "Comfy.Undo"),
      paste: (caption) => paste(node, caption),
      plain: (isPlain) => {
        app.canvas.emitBeforeChange();
        node.properties[PLAIN] = isPlain;
        lookNow();
        app.canvas.emitAfterChange();
      },
    });
    states.set(node, { editor, shown: "", asked: "", timer: 0 });
    const widget = addElement(app, node, EDITOR, editor.element, () => editor.minHeight);
    widget.label = words.joint; // seen in an app
    widget.options.onDraw = () => placeInputs(node, widget, editor);
  },
});

function update(node) {
  const state = states.get(node);
  if (!state) return;
  const recipe = recipeAt(node, "recipe", known);
  const trouble = troubleAt(node, "recipe");
  const notice = trouble ? fill(words[trouble.reason], trouble) : "";
  const isPlain = node.properties[PLAIN] === true;
  const count = recipe ? recipe.layout.panels.length : PANEL_WIDGETS.length;
  const linked = TEXTS.filter((name) => isGiven(node, name));
  const values = Object.fromEntries(TEXTS.map((name) => [name, linked.includes(name) ? "" : textOf(node, name)]));
  const key = JSON.stringify([recipe, notice, isPlain, linked, values]);
  if (key !== state.shown) {
    state.shown = key;
    state.editor.show({ recipe, notice, texts: [values.summary, ...panelTexts(values)], linked: new Set(linked), isPlain });
  }
  const draws = linked.length > 0 || Object.values(values).some((text) => wildcardsIn(text).isDrawn);
  const isShown = (name) => {
    if (name === SEED) return draws;
    if (!TEXTS.includes(name)) return true;
    if (recipe && !isPlain) return false;
    return name === MORE ? count > PANEL_WIDGETS.length : PANEL_WIDGETS.indexOf(name) < count;
  };
  // fields that only the editor shows keep their inputs, to be connected or promoted
  const hasInput = (name) => {
    if (name === MORE) return count > PANEL_WIDGETS.length;
    return PANEL_WIDGETS.includes(name) ? PANEL_WIDGETS.indexOf(name) < count : name === "summary" || isShown(name);
  };
  if (showWidgets(node, isShown, hasInput)) refresh(app, node);
  if (recipe) check(node, state, recipe, values, linked);
  else state.asked = "";
}

/** On the classic canvas, the input of a field that only the editor shows lies beside it. */
function placeInputs(node, { y, margin }, editor) {
  for (const widget of node.widgets ?? []) {
    if (!widget.hidden || !TEXTS.includes(widget.name)) continue;
    const middle = editor.middleOf(widget.name === MORE ? `panel_${PANEL_WIDGETS.length + 1}` : widget.name);
    if (middle !== null) widget.y = y + margin + middle - LiteGraph.NODE_SLOT_HEIGHT / 2;
  }
}

/** Stands for a text that another node gives: it is not missing, and nobody knows it yet. */
const PENDING = "…";

/** Ask the server what the caption will be, once nothing has changed for a moment. */
function check(node, state, recipe, values, linked) {
  const question = {
    recipe,
    summary: linked.includes("summary") ? PENDING : values.summary,
    panels: panelTexts(values).map((text, index) => (linked.includes(PANEL_WIDGETS[index]) ? PENDING : text)),
    names: isGiven(node, "names") ? "" : valueOf(node, "names"),
    escape_parentheses: valueOf(node, "escape_parentheses"),
    seed: isGiven(node, SEED) ? null : (valueOf(node, SEED) ?? null),
  };
  const asked = JSON.stringify([question, linked]);
  if (asked === state.asked) return;
  const isFirst = !state.asked;
  state.asked = asked;
  clearTimeout(state.timer);
  state.timer = setTimeout(
    async () => {
      const answer = await ask(api, "caption", question);
      if (state.asked === asked) state.editor.tell(translated(answer)); // else a later question is under way
    },
    isFirst ? 0 : PAUSE,
  );
}

/** An answer of the server in the user's language. */
function translated(answer) {
  if (!answer) return answer;
  return answer.error ? { error: translate(answer.error) } : { ...answer, problems: answer.problems.map(translate) };
}

/** What is typed goes into the widget that holds it. */
function write(node, field, text) {
  const values = Object.fromEntries(TEXTS.map((name) => [name, textOf(node, name)]));
  const changes = writtenTexts(values, { [field]: text });
  for (const [name, value] of Object.entries(changes)) writeWidget(app, node, name, value);
}

/** A field was left: what was typed there is one step for undo. It is also left when an undo takes its node away. */
function noteChange(node) {
  const isUndoing = app.extensionManager.workflow.activeWorkflow?.changeTracker?._restoringState;
  if (isUndoing || node.graph?.getNodeById(node.id) !== node) return;
  app.canvas.emitBeforeChange();
  app.canvas.emitAfterChange();
}

/** Split a whole caption into its fields; returns why that is not possible, or nothing. */
async function paste(node, caption) {
  const recipe = recipeAt(node, "recipe", known);
  const parts = await ask(api, "parse_caption", { recipe, caption });
  if (!parts) return words.noAnswer;
  if (parts.error) return translate(parts.error);
  const texts = { summary: parts.summary };
  parts.panels.forEach((text, index) => (texts[`panel_${index + 1}`] = text));
  const free = Object.entries(texts).filter(([field]) => !isGiven(node, widgetOf(field)));
  const values = Object.fromEntries(TEXTS.map((name) => [name, textOf(node, name)]));
  writeWidgets(app, node, writtenTexts(values, Object.fromEntries(free)));
  return "";
}
