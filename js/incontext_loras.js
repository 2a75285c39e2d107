/** A list of LoRAs shows what each is for while the pointer rests on it: picture, panels, trigger, size. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { loadStyles } from "./lib/dom.mjs";
import { watchGraph } from "./lib/graph.mjs";
import { besides, loraCard } from "./lib/lora_card.mjs";
import { recipes } from "./lib/recipes.mjs";
import { wordsOf } from "./lib/words.mjs";

const NODE = "InContextLoadLora";
/** An entry of an open list: on the classic canvas, and in Nodes 2.0. */
const ENTRY = ".litemenu-entry, [role='option']";

let words = wordsOf("en");
const known = recipes(api);
/** @type {{entry: Element, name: string, card: HTMLElement, told: unknown} | null} */
let shown = null;
/** @type {Promise<Map<string, number>> | null} LoRA → the folder that it is in, as ComfyUI counts them */
let folders = null;

app.registerExtension({
  name: "InContextLora.Loras",

  setup() {
    loadStyles("lora_card");
    words = wordsOf(app.extensionManager.setting.get("Comfy.Locale"));
    document.addEventListener("pointerover", ({ target }) => look(target));
    document.addEventListener("pointerdown", hide, true);
    document.addEventListener("keydown", hide, true);
    watchGraph(app, api, () => shown && show(shown.entry, shown.name)); // its recipe may be here now
  },

  refreshComboInNodes() {
    folders = null;
  },
});

function look(target) {
  const entry = target instanceof Element ? target.closest(ENTRY) : null;
  const name = entry && (entry.dataset.value ?? entry.textContent).trim();
  if (entry && lists().has(name)) show(entry, name);
  else hide();
}

/** The LoRAs that ours can load; lists of other things have other entries. */
function lists() {
  const [kind, options] = LiteGraph.registered_node_types[NODE]?.nodeData?.input?.required?.lora_name ?? [];
  return new Set(Array.isArray(kind) ? kind : (options?.options ?? []));
}

async function show(entry, name) {
  const told = known.lora(name);
  if (shown?.name === name && shown.told === told) return;
  hide();
  const state = { entry, name, told, card: null };
  shown = state;
  folders ??= askForFolders();
  const folder = (await folders).get(name);
  if (shown !== state || !entry.isConnected) return;
  const path = `/experiment/models/preview/loras/${folder}/${name.split(/[\\/]/).map(encodeURIComponent).join("/")}`;
  state.card = loraCard(name, told, words, folder === undefined ? "" : api.apiURL(path));
  document.body.append(state.card);
  const { left, top } = besides(entry.getBoundingClientRect(), state.card.getBoundingClientRect(), {
    width: innerWidth,
    height: innerHeight,
  });
  state.card.style.left = `${left}px`;
  state.card.style.top = `${top}px`;
}

function hide() {
  shown?.card?.remove();
  shown = null;
}

/** Without an answer, cards have no pictures. */
async function askForFolders() {
  try {
    const answer = await api.fetchApi("/experiment/models/loras");
    const files = answer.ok ? await answer.json() : [];
    return new Map(files.map(({ name, pathIndex }) => [name, pathIndex]));
  } catch {
    return new Map();
  }
}
