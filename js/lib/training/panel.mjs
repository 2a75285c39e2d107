/** All trainings, one of them in full: the tab in ComfyUI's bottom panel. */

import { make } from "../dom.mjs";
import { fill } from "../words.mjs";
import { AboutView } from "./about.mjs";
import { Chart } from "./chart.mjs";
import { ComparisonView } from "./comparison.mjs";
import { curvesOfRun, curvesOfRuns } from "./curves.mjs";
import * as numbers from "./numbers.mjs";
import { badge, button, Head, Part, samplePicture, shownName } from "./parts.mjs";
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
    this.runs = new Part("div", "incontext-runs");
    this.head = new Head(desk, page);
    const curve = make("div", "incontext-curve");
    this.chart = new Chart(curve, words, false);
    this.tabs = new Part("div", "incontext-tabs");
    this.content = new Part("div", "incontext-content");
    this.trainer = new TrainerView(desk, page);
    this.comparison = new ComparisonView(desk, page.locale);
    this.about = new AboutView(desk, page, () => this.pick(""));
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
    this.#showRuns(desk.runs, name);
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

  #showRuns(runs, shown) {
    const words = this.#words;
    const lines = runs.map((run) => [run.name, run.label, run.note, run.state, run.step, run.steps]);
    this.runs.draw([shown, lines, [...this.#compared]], () =>
      runs.map((run) => {
        const about = [badge(run, words), run.steps ? `${run.step} / ${run.steps}` : ""];
        const when = make("span", "incontext-when", [numbers.moment(run.started, this.#page.locale)]);
        const children = [make("b", "", [shownName(run)]), make("span", "incontext-about", [...about, when])];
        const title = [run.name, run.note].filter(Boolean).join("\n");
        const entry = make("button", "incontext-run", children, { type: "button", title });
        entry.addEventListener("click", () => this.pick(run.name));
        const line = make("div", "incontext-run-line", [entry, this.#compareBox(run, run.name === shown)]);
        line.classList.toggle("incontext-shown", run.name === shown);
        return line;
      }),
    );
  }

  /** Whether a run's loss is shown beside that of the picked run, which always is. */
  #compareBox(run, isShown) {
    const words = this.#words;
    const attributes = { type: "checkbox", title: words.compareHint, "aria-label": `${words.compare}: ${shownName(run)}` };
    const box = make("input", "incontext-compare", [], attributes);
    box.checked = isShown || this.#compared.has(run.name);
    box.disabled = isShown;
    box.addEventListener("change", () => {
      if (box.checked) this.#compared.add(run.name);
      else this.#compared.delete(run.name);
      void this.show(this.#desk);
      this.#desk.lookNow();
    });
    return box;
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
