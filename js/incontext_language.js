/**
 * Names and tooltips of our nodes in the chosen language. ComfyUI's interface takes the texts of packs before it loads its
 * own of that language, which then replace them (frontend 1.32), so they are put into the nodes' definitions here.
 */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { labelNode, translateDefinition } from "./lib/language.mjs";

/** As ComfyUI names the module of our nodes: by the pack's folder, which is in this file's address. */
const MODULE = `custom_nodes.${decodeURIComponent(new URL(".", import.meta.url).pathname.split("/").at(-2))}`;

/** @type {Record<string, import("./lib/language.mjs").Texts>} by language, as the server has them */
let languages = {};

app.registerExtension({
  name: "InContextLora.Language",

  addCustomNodeDefs: translate,

  nodeCreated(node) {
    if (isOurs(node.constructor.nodeData ?? {})) labelNode(node, texts());
  },

  /** Also called after the language was changed, when new definitions have arrived and were registered as they are. */
  async refreshComboInNodes(definitions) {
    for (const definition of await translate(definitions)) await app.registerNodeDef(definition.name, definition);
  },
});

const locale = () => app.extensionManager.setting.get("Comfy.Locale");
const texts = () => languages[locale()] ?? {};
const isOurs = ({ python_module }) => python_module === MODULE;

/** Translate our definitions; returns those that are. The texts are asked for once, and never in English. */
async function translate(definitions) {
  if (locale() === "en") return [];
  if (!(locale() in languages)) languages = await askForTexts();
  const ours = Object.values(definitions).filter(isOurs);
  for (const definition of ours) translateDefinition(definition, texts());
  return ours;
}

/** Nodes are in English if the server does not answer. */
async function askForTexts() {
  try {
    const answer = await api.fetchApi("/i18n");
    return answer.ok ? await answer.json() : {};
  } catch {
    return {};
  }
}
