/** The gallery of sets: a tab in the sidebar. What was made is read from the pictures in ComfyUI's folders. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { loadStyles } from "./lib/dom.mjs";
import { Gallery } from "./lib/gallery/gallery.mjs";
import { showLarge } from "./lib/gallery/large.mjs";
import { placeReference } from "./lib/gallery/place.mjs";
import { repaintPanel } from "./lib/gallery/repaint.mjs";
import { panelName } from "./lib/gallery/sets.mjs";
import { wordsOf } from "./lib/gallery/words.mjs";
import { translator } from "./lib/messages.mjs";
import { getJson, postJson } from "./lib/server.mjs";
import { holdUndo } from "./lib/widgets.mjs";
import { fill } from "./lib/words.mjs";

const TAB = "incontext-lora-sets";

const locale = () => app.extensionManager.setting.get("Comfy.Locale");
/** @type {Gallery | null} */
let gallery = null;

app.registerExtension({
  name: "InContextLora.Gallery",

  commands: [
    {
      id: "InContextLora.ShowSets",
      label: () => `In-Context LoRA: ${wordsOf(locale()).showSets}`,
      icon: "pi pi-images",
      function: open,
    },
  ],

  setup() {
    loadStyles("gallery");
    const words = wordsOf(locale());
    app.extensionManager.registerSidebarTab({
      id: TAB,
      icon: "pi pi-images",
      title: words.title,
      label: words.title,
      tooltip: words.hint,
      type: "custom",
      render: (element) => {
        element.style.height = "100%"; // the sets scroll in themselves
        element.replaceChildren(shown().element);
        void shown().look();
      },
      destroy: () => gallery?.rest(),
    });
    api.addEventListener("execution_success", () => gallery?.news());
    api.addEventListener("executed", ({ detail }) => detail?.output?.images && gallery?.news());
  },
});

function open() {
  const { sidebarTab } = app.extensionManager;
  if (sidebarTab.activeSidebarTabId !== TAB) sidebarTab.toggleSidebarTab(TAB);
}

function shown() {
  gallery ??= new Gallery(
    api,
    { words: wordsOf(locale()), locale: locale() },
    {
      reference: said(reference),
      repaint: said(repaint),
      add: said(addToDataset),
      workflow: said(openWorkflow),
      enlarge: (made, panel) => showLarge(api, made, panel, wordsOf(locale())),
      copy: said(copy),
      tell,
    },
  );
  return gallery;
}

/** An action that says what went wrong. */
function said(act) {
  return async (...values) => {
    try {
      return await act(wordsOf(locale()), ...values);
    } catch (error) {
      tell(translator(locale())(error.message), true);
      return null;
    }
  };
}

async function reference(words, made, panel) {
  const { name } = await postJson(api, `/sets/${made.id}/reference`, { panel });
  tell(placeReference(app, name, words));
}

async function repaint(words, made, panel) {
  const [{ name }, answer] = await Promise.all([
    postJson(api, `/sets/${made.id}/reference`, { panel: null }),
    getJson(api, `/sets/${made.id}/workflow`),
  ]);
  await load(answer, fill(words.repaintTab, { name: made.name.replace(/_+$/, ""), number: panel + 1 }));
  holdUndo(app);
  const title = fill(words.repaintGroup, { panel: panelName(made, panel) });
  const isReady = repaintPanel(app, made.wiring, name, panel, title);
  tell(fill(isReady ? words.repaintReady : words.repaintInPart, { panel: panelName(made, panel) }));
}

async function openWorkflow(words, made) {
  await load(await getJson(api, `/sets/${made.id}/workflow`), made.name);
  tell(fill(words.workflowOpened, { name: made.name }));
}

async function addToDataset(words, made, folder) {
  const answer = await postJson(api, `/sets/${made.id}/dataset`, { folder });
  tell(fill(answer.is_new ? words.added : words.addedAlready, answer));
  return answer;
}

async function copy(words, text) {
  await navigator.clipboard.writeText(text);
  tell(fill(words.copied, { text }));
}

/** Open a workflow in a tab of its own; of a prompt that no page has sent, ComfyUI makes one. */
async function load({ workflow, prompt }, title) {
  if (workflow) await app.loadGraphData(parsed(workflow), true, true, title);
  else await app.loadApiJson(parsed(prompt), title);
}

/** Python writes NaN, which is not JSON; ComfyUI's own page reads pictures so too. */
function parsed(text) {
  return JSON.parse(text.replace(/\bNaN\b/g, "null"));
}

function tell(text, isProblem = false) {
  const severity = isProblem ? "error" : "success";
  app.extensionManager.toast.add({ severity, summary: "In-Context LoRA", detail: text, life: isProblem ? 10_000 : 5_000 });
}
