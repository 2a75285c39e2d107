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
/** Types of our nodes. */
const types = new Set();

app.registerExtension({
  name: "InContextLora.Language",

  async addCustomNodeDefs(definitions) {
    if (locale() !== "en") languages = await askForTexts();
    for (const definition of ours(definitions)) {
      types.add(definition.name);
      translateDefinition(definition, texts());
    }
  },

  nodeCreated(node) {
    if (types.has(node.comfyClass)) labelNode(node, texts());
  },

  /** Also called after the language was changed, when the definitions have come anew and were registered as they are. */
  async refreshComboInNodes(definitions) {
    if (locale() === "en") return;
    languages = await askForTexts();
    for (const definition of ours(definitions)) {
      translateDefinition(definition, texts());
      await app.registerNodeDef(definition.name, definition);
    }
  },
});

const locale = () => app.extensionManager.setting.get("Comfy.Locale");
const texts = () => languages[locale()] ?? {};
const ours = (definitions) => Object.values(definitions).filter(({ python_module }) => python_module === MODULE);

/** Nodes are in English where the server does not answer. */
async function askForTexts() {
  try {
    const answer = await api.fetchApi("/i18n");
    return answer.ok ? await answer.json() : {};
  } catch {
    return {};
  }
}
