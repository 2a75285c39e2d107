/** A training on its node: the run of the node's name, small. */

import { make } from "../dom.mjs";
import { Chart } from "./chart.mjs";
import { curvesOfRun } from "./curves.mjs";
import { button, Head, Part, samplePicture } from "./parts.mjs";
import { runOfNode } from "./run_state.mjs";

/** @implements {import("./desk.mjs").View} */
export class Compact {
  #about;
  #page;
  #open;
  #drawnCurve = "";
  #isTrainerThere = true;
  #asked = 0;

  /**
   * @param {import("./desk.mjs").Desk} desk
   * @param {import("./parts.mjs").Page} page
   * @param {() => {trainer: string, name: string, resume?: string}} about  what the node would train now
   * @param {(run?: string, tab?: string) => void} open  show the panel
   */
  constructor(desk, page, about, open) {
    const { words } = page;
    this.#about = about;
    this.#page = page;
    this.#open = open;
    this.head = new Head(desk, page);
    const curve = make("div", "incontext-curve");
    this.chart = new Chart(curve, words, true);
    this.picture = new Part("div", "incontext-last");
    this.body = make("div", "incontext-body", [this.head.element, curve, this.picture.element]);
    this.nothing = make("div", "incontext-nothing", [words.loading]);
    this.missing = make("div", "incontext-missing", [
      make("span", "", [words.trainerMissing]),
      button(words.showTrainer, "", () => open(undefined, "trainer")),
    ]);
    this.all = button(words.showAll, "", () => open(this.#run?.name));
    this.all.classList.add("incontext-all");
    const parts = [this.missing, this.body, this.nothing, this.all];
    this.element = make("div", "incontext-lora incontext-compact", parts);
    this.missing.hidden = true;
    this.body.hidden = true;
  }

  #run;

  wants(desk) {
    this.#run = runOfNode(desk.runs, this.#about());
    return [this.#run?.name];
  }

  async show(desk) {
    const [name] = this.wants(desk);
    const state = desk.state(name);
    this.body.hidden = !state;
    this.nothing.hidden = Boolean(state);
    this.nothing.textContent = this.#whyNothing(desk, name);
    if (state) {
      this.head.show(state);
      const drawn = `${state.name} ${state.offset}`;
      if (drawn !== this.#drawnCurve) this.chart.show(curvesOfRun(state.series, this.#page.words, true));
      this.#drawnCurve = drawn;
      const last = state.sampleSteps[0];
      this.picture.element.hidden = !last;
      const file = last?.files[0];
      const version = state.versions.get(file);
      this.picture.draw([state.name, last, version, state.layout], () =>
        file ? [samplePicture(desk.sampleUrl(state.name, file, version), state.layout)] : [],
      );
    }
    if (this.#about().trainer === "sd-scripts") await this.#lookForTrainer(desk);
  }

  /** What stands in the place of a run. */
  #whyNothing(desk, name) {
    const { words } = this.#page;
    if (!desk.isAnswering) return words.noAnswer;
    return desk.isKnown && !name ? words.noRunOfNode : words.loading;
  }

  /** Say that the trainer is missing, and look again now and then while it is. */
  async #lookForTrainer(desk) {
    if (Date.now() - this.#asked < (this.#isTrainerThere ? 60_000 : 5_000)) return;
    this.#asked = Date.now();
    const trainer = await desk.get("/trainer").catch(() => null);
    this.#isTrainerThere = trainer?.installed ?? true;
    this.missing.hidden = this.#isTrainerThere;
  }
}
