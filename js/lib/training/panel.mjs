/** All trainings, one of them in full: the tab in ComfyUI's bottom panel. */

import { make } from "../dom.mjs";
import { fill } from "../words.mjs";
import { AboutView } from "./about.mjs";
import { Chart } from "./chart.mjs";
import { ComparisonView } from "./comparison.mjs";
import { curvesOfRun, curvesOfRuns } from "./curves.mjs";
import * as numbers from "./numbers.mjs";
import { button, Head, Part, samplePicture, shownName } from "./parts.mjs";
import { RunList } from "./run_list.mjs";
import { firstRun } from "./run_state.mjs";
import { TrainerView } from "./trainer.mjs";

const TABS = ["samples", "checkpoints", "comparison", "log", "about", "trainer"];

/** @implements {import("./desk.mjs").View} */
export class Panel {
  #desk;
  #page;
  #words;
  #picked = "";
  #tab = "samples";
  #drawnCurve = "";
  #drawnRun = "";
  #drawnSteps = 0;
  /** Names of the runs whose loss is shown beside that of the picked one. */
  #compared = new Set();

  /**
   * @param {import("./desk.mjs").Desk} desk
   * @param {import("./parts.mjs").Page} page
   */
  constructor(desk, page) {
    const { words } = page;
    this.#desk = desk;
    this.#page = page;
    this.#words = words;
    this.runs = new RunList(page, {
      pick: (name) => this.pick(name),
      compare: (name, isCompared) => this.#compare(name, isCompared),
    });
    this.head = new Head(desk, page);
    const curve = make("div", "incontext-curve");
    this.chart = new Chart(curve, words, false);
    this.tabs = new Part("div", "incontext-tabs");
    this.content = new Part("div", "incontext-content");
    this.trainer = new TrainerView(desk, page);
    this.comparison = new ComparisonView(desk, page);
    this.about = new AboutView(desk, page, { deleted: () => this.pick(""), typing: (name) => this.pick(name) });
    this.nothing = make("div", "incontext-nothing", [words.loading]);
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
    const isThere = (name) => desk.runs.some((run) => run.name === name);
    const shown = isThere(this.#picked) ? this.#picked : firstRun(desk.runs)?.name;
    return [shown, ...[...this.#compared].filter((name) => name !== shown && isThere(name))];
  }

  async show(desk) {
    const [name] = this.wants(desk);
    this.runs.show(desk.runs, name, this.#compared);
    const state = desk.state(name);
    this.nothing.textContent = this.#whyNothing(desk);
    this.nothing.hidden = Boolean(state);
    this.main.hidden = !state;
    this.#showTabs();
    if (state) {
      this.head.show(state);
      this.#showCurve(desk, state);
    }
    if (this.#tab === "trainer") await this.#showTrainer();
    else if (!state) this.content.draw("", () => []);
    else if (this.#tab === "samples") this.#showSamples(state);
    else if (this.#tab === "checkpoints") this.#showCheckpoints(state);
    else if (this.#tab === "comparison") await this.#showComparison(state);
    else if (this.#tab === "about") this.#showAbout(state);
    else await this.#showLog(state);
  }

  /** What stands in the place of a run. */
  #whyNothing(desk) {
    if (!desk.isAnswering) return this.#words.noAnswer;
    return desk.isKnown && !desk.runs.length ? this.#words.noRuns : this.#words.loading;
  }

  #showCurve(desk, state) {
    const shown = this.wants(desk).map((name) => desk.state(name));
    const states = shown.filter(Boolean);
    const drawn = JSON.stringify(states.map((each) => [each.name, each.run.label, each.offset]));
    // while a long run is read, its curve is drawn again each time that it has grown by half
    const steps = state.series.step.length;
    const isReading = !desk.isWhole(state.name) && this.#drawnRun === state.name;
    if (drawn === this.#drawnCurve || (isReading && steps < 1.5 * this.#drawnSteps)) return;
    this.#drawnCurve = drawn;
    this.#drawnRun = state.name;
    this.#drawnSteps = steps;
    const runs = states.map((each) => ({ label: shownName(each.run), series: each.series }));
    this.chart.show(runs.length > 1 ? curvesOfRuns(runs) : curvesOfRun(state.series, this.#words, false));
  }

  #compare(name, isCompared) {
    if (isCompared) this.#compared.add(name);
    else this.#compared.delete(name);
    void this.show(this.#desk);
    this.#desk.lookNow();
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
      this.#page.tell(fill(this.#words.inUse, { lora }));
      this.#page.onNewLora();
    } catch (error) {
      this.#page.tell(this.#page.translate(error.message), true);
    }
  }

  #showAbout(state) {
    this.about.show(state);
    this.content.draw("about", () => [this.about.element]);
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
