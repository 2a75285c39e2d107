/** All trainings, one of them in full: the tab in ComfyUI's bottom panel. */

import { make } from "../dom.mjs";
import { fill } from "../words.mjs";
import { Chart } from "./chart.mjs";
import { ComparisonView } from "./comparison.mjs";
import * as numbers from "./numbers.mjs";
import { badge, button, Head, Part, samplePicture } from "./parts.mjs";
import { firstRun } from "./run_state.mjs";
import { TrainerView } from "./trainer.mjs";

const TABS = ["samples", "checkpoints", "comparison", "log", "trainer"];

/** @implements {import("./desk.mjs").View} */
export class Panel {
  #desk;
  #words;
  #tell;
  #onNewLora;
  #locale;
  #picked = "";
  #tab = "samples";
  #drawnCurve = "";

  /**
   * @param {import("./desk.mjs").Desk} desk
   * @param {{words: object, locale: string, tell: (text: string, isProblem?: boolean) => void, onNewLora: () => void}} page
   */
  constructor(desk, { words, locale, tell, onNewLora }) {
    this.#desk = desk;
    this.#words = words;
    this.#locale = locale;
    this.#tell = tell;
    this.#onNewLora = onNewLora;
    this.runs = new Part("div", "incontext-runs");
    this.head = new Head(desk, words, tell);
    const curve = make("div", "incontext-curve");
    this.chart = new Chart(curve, words, false);
    this.tabs = new Part("div", "incontext-tabs");
    this.content = new Part("div", "incontext-content");
    this.trainer = new TrainerView(desk, words, tell);
    this.comparison = new ComparisonView(desk, locale);
    this.nothing = make("div", "incontext-nothing", [words.noRuns]);
    this.main = make("div", "incontext-main", [this.head.element, curve]);
    this.side = make("div", "incontext-side", [this.tabs.element, this.content.element]);
    const parts = [this.runs.element, this.main, this.nothing, this.side];
    this.element = make("div", "incontext-lora incontext-monitor", parts);
  }

  /** Show this run, and stay with it. */
  pick(name) {
    this.#picked = name;
    void this.show(this.#desk);
    this.#desk.lookNow();
  }

  /** Show this tab of the side: one of `TABS`. */
  openTab(tab) {
    this.#tab = tab;
    void this.show(this.#desk);
    this.#desk.lookNow();
  }

  wants(desk) {
    const isThere = desk.runs.some((run) => run.name === this.#picked);
    return isThere ? this.#picked : firstRun(desk.runs)?.name;
  }

  async show(desk) {
    const name = this.wants(desk);
    this.#showRuns(desk.runs, name);
    const state = desk.state(name);
    this.nothing.textContent = desk.isAnswering ? this.#words.noRuns : this.#words.noAnswer;
    this.nothing.hidden = !(desk.isKnown || !desk.isAnswering) || desk.runs.length > 0;
    this.main.hidden = !state;
    this.#showTabs();
    if (state) {
      this.head.show(state.run, state.notes);
      const drawn = `${name} ${state.offset}`;
      if (drawn !== this.#drawnCurve) this.chart.show(state.series.columns());
      this.#drawnCurve = drawn;
    }
    if (this.#tab === "trainer") await this.#showTrainer();
    else if (!state) this.content.draw("", () => []);
    else if (this.#tab === "samples") this.#showSamples(state);
    else if (this.#tab === "checkpoints") this.#showCheckpoints(state);
    else if (this.#tab === "comparison") await this.#showComparison(state);
    else await this.#showLog(state);
  }

  #showRuns(runs, shown) {
    const words = this.#words;
    const lines = runs.map((run) => [run.name, run.state, run.step, run.steps]);
    this.runs.draw([shown, lines], () =>
      runs.map((run) => {
        const about = [badge(run, words), run.steps ? `${run.step} / ${run.steps}` : ""];
        const when = make("span", "incontext-when", [numbers.moment(run.started, this.#locale)]);
        const children = [make("b", "", [run.name]), make("span", "incontext-about", [...about, when])];
        const entry = make("button", "incontext-run", children, { type: "button", title: run.name });
        entry.classList.toggle("incontext-shown", run.name === shown);
        entry.addEventListener("click", () => this.pick(run.name));
        return entry;
      }),
    );
  }

  #showTabs() {
    this.tabs.draw(this.#tab, () =>
      TABS.map((tab) => {
        const entry = make("button", "incontext-tab", [this.#words[tab] ?? this[tab].title], { type: "button" });
        entry.dataset.tab = tab;
        entry.classList.toggle("incontext-shown", tab === this.#tab);
        entry.addEventListener("click", () => this.openTab(tab));
        return entry;
      }),
    );
  }

  #showSamples(state) {
    const steps = state.sampleSteps;
    this.content.draw(["samples", state.name, steps, [...state.versions], state.layout], () => {
      if (!steps.length) return [make("p", "incontext-note", [this.#words.noSamples])];
      return steps.map(({ step, files }) => {
        const pictures = files.map((file) => {
          const url = this.#desk.sampleUrl(state.name, file, state.versions.get(file));
          return samplePicture(url, state.layout);
        });
        const row = make("div", "incontext-pictures", pictures);
        return make("section", "incontext-step", [make("h4", "", [fill(this.#words.atStep, { step })]), row]);
      });
    });
  }

  #showCheckpoints(state) {
    const words = this.#words;
    this.content.draw(["checkpoints", state.name, state.checkpoints], () => {
      if (!state.checkpoints.length) return [make("p", "incontext-note", [words.noCheckpoints])];
      return state.checkpoints.map(({ file, step, bytes }) => {
        const use = button(words.use, words.useHint, () => this.#use(state.name, file));
        const about = make("span", "", [make("b", "", [fill(words.atStep, { step })]), ` ${numbers.size(bytes)}`]);
        return make("div", "incontext-checkpoint", [about, use], { title: file });
      });
    });
  }

  async #use(name, checkpoint) {
    try {
      const { lora } = await this.#desk.post(`/runs/${encodeURIComponent(name)}/use`, { checkpoint });
      this.#tell(fill(this.#words.inUse, { lora }));
      this.#onNewLora();
    } catch (error) {
      this.#tell(error.message, true);
    }
  }

  async #showLog(state) {
    const words = this.#words;
    const answer = await this.#desk.get(`/runs/${encodeURIComponent(state.name)}/log`).catch(() => null);
    if (!answer || this.#tab !== "log") return;
    const isAtEnd = endIsInView(this.content.element);
    const wasDrawn = this.content.draw(["log", state.name, answer], () => {
      const parts = [
        [words.output, answer.output],
        [words.ownLog, answer.log],
      ].filter(([, lines]) => lines.length);
      if (!parts.length) return [make("p", "incontext-note", [words.noLog])];
      return parts.map(([title, lines]) =>
        make("section", "", [make("h4", "", [title]), make("pre", "incontext-log", [lines.join("\n")])]),
      );
    });
    if (wasDrawn && isAtEnd) this.content.element.scrollTop = this.content.element.scrollHeight;
  }

  async #showComparison(state) {
    await this.comparison.show(state.name);
    if (this.#tab === "comparison") this.content.draw("comparison", () => [this.comparison.element]);
  }

  async #showTrainer() {
    await this.trainer.look();
    if (this.#tab === "trainer") this.content.draw("trainer", () => [this.trainer.element]);
  }
}

const endIsInView = ({ scrollTop, scrollHeight, clientHeight }) => scrollHeight - scrollTop - clientHeight < 24;
