/**
 * The list of runs. A run keeps its line while it trains and the line's texts change: an element that is replaced loses the
 * keyboard's focus, and a press that began on it.
 */

import { make } from "../dom.mjs";
import * as numbers from "./numbers.mjs";
import { badgeClass, shownName } from "./parts.mjs";

export class RunList {
  #page;
  #on;
  /** @type {Map<string, RunLine>} name of the run → line */
  #lines = new Map();

  /**
   * @param {import("./parts.mjs").Page} page
   * @param {{pick: (name: string) => void, compare: (name: string, isCompared: boolean) => void}} on
   */
  constructor(page, on) {
    this.#page = page;
    this.#on = on;
    this.element = make("div", "incontext-runs");
  }

  /**
   * @param {object[]} runs
   * @param {string | undefined} shown  name of the run that is shown in full; its loss always is
   * @param {Set<string>} compared  names of the runs whose loss is shown beside it
   */
  show(runs, shown, compared) {
    const names = new Set(runs.map((run) => run.name));
    for (const [name, line] of this.#lines) {
      if (names.has(name)) continue;
      line.element.remove();
      this.#lines.delete(name);
    }
    let place = this.element.firstChild;
    for (const run of runs) {
      let line = this.#lines.get(run.name);
      if (!line) this.#lines.set(run.name, (line = new RunLine(run.name, this.#page, this.#on)));
      line.show(run, run.name === shown, compared.has(run.name));
      if (line.element === place) place = place.nextSibling;
      else this.element.insertBefore(line.element, place);
    }
  }
}

class RunLine {
  #page;
  #name = make("b");
  #badge = make("span");
  #step = make("span");
  #when = make("span", "incontext-when");
  #entry;
  #box;

  constructor(name, page, on) {
    this.#page = page;
    const about = make("span", "incontext-about", [this.#badge, this.#step, this.#when]);
    this.#entry = make("button", "incontext-run", [this.#name, about], { type: "button" });
    this.#entry.addEventListener("click", () => on.pick(name));
    this.#box = make("input", "incontext-compare", [], { type: "checkbox", title: page.words.compareHint });
    this.#box.addEventListener("change", () => on.compare(name, this.#box.checked));
    this.element = make("div", "incontext-run-line", [this.#entry, this.#box]);
  }

  show(run, isShown, isCompared) {
    const { words, locale } = this.#page;
    const name = shownName(run);
    write(this.#name, name);
    write(this.#badge, words[run.state] ?? run.state);
    this.#badge.className = badgeClass(run);
    write(this.#step, run.steps ? `${run.step} / ${run.steps}` : "");
    write(this.#when, numbers.moment(run.started, locale));
    this.#entry.title = [run.name, run.note].filter(Boolean).join("\n");
    this.#box.setAttribute("aria-label", `${words.compare}: ${name}`);
    this.#box.checked = isShown || isCompared;
    this.#box.disabled = isShown;
    this.element.classList.toggle("incontext-shown", isShown);
  }
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
