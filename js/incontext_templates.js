/** The pack's templates: titles, order and search in ComfyUI's browser of templates, and their texts in Chinese. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { listTemplates, translateWorkflow } from "./lib/templates.mjs";

/** The pack's folder among the custom nodes, which is in this file's address. */
const PACK = decodeURIComponent(new URL(".", import.meta.url).pathname.split("/").at(-2));

const files = new Map();

listTemplates(api, PACK, async () => (await read("index")) ?? []);

app.registerExtension({
  name: "InContextLora.Templates",

  /** Of any workflow that is opened; the texts of templates are recognised by their words. */
  async beforeConfigureGraph(workflow) {
    if (locale() !== "zh" || !isOurs(workflow)) return;
    const texts = await read("zh");
    if (texts) translateWorkflow(workflow, texts);
  },
});

const locale = () => app.extensionManager.setting.get("Comfy.Locale");
const isOurs = (workflow) => workflow.nodes?.some((node) => String(node.type).startsWith("InContext"));

/** One of the files of `templates/`; null if the server does not give it, so that templates show as they would without. */
function read(name) {
  if (!files.has(name)) files.set(name, fetchJson(new URL(`./templates/${name}.json`, import.meta.url)));
  return files.get(name);
}

async function fetchJson(address) {
  try {
    const answer = await fetch(address);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}
