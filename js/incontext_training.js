/** Trainings: a tab in the bottom panel, and a small view on the nodes that train. Everything is read from the runs' folders. */

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

import { loadStyles } from "./lib/dom.mjs";
import { translator } from "./lib/messages.mjs";
import { valueOf } from "./lib/upstream.mjs";
import { addElement, onWidget } from "./lib/widgets.mjs";
import { CardWatch } from "./lib/training/card.mjs";
import { Compact } from "./lib/training/compact.mjs";
import { Desk } from "./lib/training/desk.mjs";
import { Panel } from "./lib/training/panel.mjs";
import { shownName } from "./lib/training/parts.mjs";
import { resumingPrompt } from "./lib/training/resume.mjs";
import { wordsOf } from "./lib/training/words.mjs";
import { fill } from "./lib/words.mjs";

const TAB = "incontext-lora-trainings";
const HEIGHT = 340;
/** Nodes that train, and how their runs name the trainer. */
const TRAINERS = { InContextTrainLora: "sd-scripts", InContextTrainLoraInHost: "in-host" };

const desk = new Desk(api);
desk.onDone = (name, what, step) => {
  const run = desk.runs.find((each) => each.name === name);
  const { words } = page();
  tell(fill(words[`${what}Done`], { name: run ? shownName(run) : name, step }));
};
/** @type {Panel | null} */
let panel = null;

app.registerExtension({
  name: "InContextLora.Training",

  commands: [
    {
      id: "InContextLora.ShowTrainings",
      label: () => `In-Context LoRA: ${page().words.showTrainings}`,
      icon: "pi pi-chart-line",
      function: () => open(),
    },
  ],

  bottomPanelTabs: [
    {
      id: TAB,
      title: "In-Context LoRA",
      type: "custom",
      render: (element) => {
        element.style.height = "100%"; // the panel scrolls in itself
        element.replaceChildren(shownPanel().element);
      },
    },
  ],

  setup() {
    loadStyles("parts", "chart", "monitor", "compact");
    for (const event of ["execution_start", "executing", "execution_error", "execution_interrupted"])
      api.addEventListener(event, () => desk.lookNow());
    const card = new CardWatch(desk, page().words, page().tell);
    api.addEventListener("execution_start", () => void card.look());
  },

  nodeCreated(node) {
    const trainer = TRAINERS[node.comfyClass];
    if (!trainer) return;
    showSmallNumbers(node);
    const about = () => ({ trainer, name: valueOf(node, "name"), resume: valueOf(node, "resume") });
    const view = new Compact(desk, page(), about, open);
    addElement(app, node, "training", view.element, HEIGHT);
    desk.add(view);
    for (const widget of (node.widgets ?? []).filter(({ name }) => name === "name" || name === "resume"))
      onWidget(widget, () => desk.lookNow());
    const removed = node.onRemoved;
    node.onRemoved = function (...values) {
      desk.remove(view);
      return removed?.apply(this, values);
    };
  },
});

/** Nodes 2.0 show three decimals (frontend 1.32): a learning rate would be 0 there. */
function showSmallNumbers(node) {
  for (const { options } of node.widgets ?? []) {
    if (options.precision > 3) options.maxFractionDigits = options.precision;
  }
}

/** Show the panel, with this run and this tab of its side. */
function open(run, tab) {
  const { bottomPanel } = app.extensionManager;
  if (bottomPanel.activeBottomPanelTab?.id !== TAB) bottomPanel.toggleBottomPanelTab(TAB);
  if (run) shownPanel().pick(run);
  if (tab) shownPanel().openTab(tab);
}

function shownPanel() {
  if (!panel) {
    panel = new Panel(desk, page());
    desk.add(panel);
  } else {
    desk.lookNow();
  }
  return panel;
}

function page() {
  const locale = app.extensionManager.setting.get("Comfy.Locale");
  return {
    words: wordsOf(locale),
    locale,
    translate: translator(locale),
    tell,
    confirm: ask,
    resume,
    onNewLora: () => app.refreshComboInNodes(),
  };
}

/** Ask before something is lost. @returns {Promise<boolean>} */
async function ask(title, message) {
  return (await app.extensionManager.dialog.confirm({ title, message, type: "delete" })) === true;
}

/** Continue a run: in a process of its own, or with the model of the open workflow. */
async function resume(run) {
  const { words } = page();
  if (run.trainer !== TRAINERS.InContextTrainLoraInHost) {
    await desk.post(`/runs/${encodeURIComponent(run.name)}/resume`);
    return tell(words.resuming);
  }
  const { output, workflow } = await app.graphToPrompt();
  const prompt = resumingPrompt(output, run);
  if (!prompt) throw new Error(fill(words.noNodeToResume, { name: shownName(run) }));
  try {
    await api.queuePrompt(0, { output: prompt, workflow });
  } catch (error) {
    throw new Error(error.response?.error?.message ?? error.message); // what ComfyUI found wrong with the prompt
  }
  tell(words.queued);
}

function tell(text, isProblem = false) {
  const severity = isProblem ? "error" : "success";
  app.extensionManager.toast.add({ severity, summary: "In-Context LoRA", detail: text, life: isProblem ? 10_000 : 4_000 });
}
