/** A built dataset: every set with its picture and with what the build said of it. */

import { make } from "./dom.mjs";
import { Part } from "./training/parts.mjs";

/** Findings that somebody should look at; notes only tell what was converted. */
export const isSerious = (finding) => finding.level !== "note";

/** The name of the dataset that Build Dataset makes of these values: its own, else its folder's. */
export function datasetName({ name, folder }) {
  const own = String(name ?? "").trim();
  if (own) return own;
  const parts = String(folder ?? "")
    .trim()
    .replace(/^"|"$/g, "")
    .split(/[\\/]/)
    .filter((part) => part && part !== ".");
  return parts.at(-1) ?? "";
}

/** The cards to show, in the order of the dataset, those that were left out last; what is most serious comes first in each. */
export function cardsOf(dataset, onlySerious) {
  const sets = dataset.sets.map((set, index) => ({ ...set, number: index + 1, isLeftOut: false }));
  const leftOut = dataset.left_out.map((set) => ({ ...set, number: 0, isLeftOut: true }));
  const all = [...sets, ...leftOut];
  const weights = ["error", "warning", "note"];
  const ordered = all.map((card) => ({
    ...card,
    findings: [...card.findings].sort((one, other) => weights.indexOf(one.level) - weights.indexOf(other.level)),
  }));
  return onlySerious ? ordered.filter((card) => card.findings.some(isSerious)) : ordered;
}

export class DatasetView {
  #desk;
  #page;
  #dataset = null;
  #onlySerious = false;
  /** Names of the sets whose text is shown. */
  #opened = new Set();

  /**
   * @param {import("./training/desk.mjs").Desk} desk
   * @param {{words: object, translate: (text: string) => string}} page
   */
  constructor(desk, page) {
    this.#desk = desk;
    this.#page = page;
    this.head = new Part("div", "incontext-line");
    this.cards = new Part("div", "incontext-cards");
    const parts = [this.head.element, this.cards.element];
    this.element = make("div", "incontext-lora incontext-dataset", parts);
    // the canvas below must not zoom while a list is scrolled
    this.cards.element.addEventListener("wheel", (event) => event.stopPropagation());
    this.#draw();
  }

  /** Show the dataset of this name, if there is one. */
  async look(name) {
    const answer = await this.#desk.get(`/datasets/${encodeURIComponent(name)}`).catch(() => null);
    this.#dataset = answer?.dataset ?? null;
    this.#draw();
  }

  #draw() {
    const [{ words }, dataset] = [this.#page, this.#dataset];
    const hasFindings = dataset ? cardsOf(dataset, true).length > 0 : false;
    if (!hasFindings) this.#onlySerious = false;
    this.head.draw([dataset?.headline, hasFindings, this.#onlySerious], () => {
      if (!dataset) return [make("span", "incontext-note", [words.noDataset])];
      const filter = make("button", "incontext-button", [this.#onlySerious ? words.allSets : words.onlyFindings], {
        type: "button",
      });
      filter.addEventListener("click", () => {
        this.#onlySerious = !this.#onlySerious;
        this.#draw();
      });
      return [make("b", "", [dataset.headline]), ...(hasFindings ? [filter] : [])];
    });
    this.cards.draw([dataset, this.#onlySerious, [...this.#opened]], () => {
      if (!dataset) return [];
      const cards = cardsOf(dataset, this.#onlySerious).map((card) => this.#card(card));
      const whole = dataset.findings.length
        ? [make("div", "incontext-whole", [make("h4", "", [words.whole]), ...dataset.findings.map((finding) => this.#line(finding))])]
        : [];
      return [...whole, ...(cards.length ? cards : [make("p", "incontext-note", [words.noFindings])])];
    });
  }

  #card(card) {
    const serious = card.findings.filter(isSerious);
    const isOpen = this.#opened.has(card.name);
    const name = make("span", "incontext-name", [card.number ? `${card.number}  ${card.name}` : card.name]);
    const label = [name];
    if (serious.length) label.push(make("span", `incontext-count incontext-${serious[0].level}`, [String(serious.length)]));
    const parts = [];
    if (card.isLeftOut) {
      parts.push(make("div", "incontext-absent", [this.#page.words.leftOut]));
    } else {
      const ratio = `${this.#dataset.width} / ${this.#dataset.height}`;
      const source = this.#desk.setUrl(this.#dataset.name, card.id);
      const image = make("img", "", [], { src: source, loading: "lazy", alt: card.caption });
      image.style.aspectRatio = ratio;
      parts.push(image);
    }
    parts.push(make("div", "incontext-label", label));
    if (isOpen) {
      parts.push(...card.findings.map((finding) => this.#line(finding)));
      if (card.caption) parts.push(make("p", "incontext-note", [card.caption]));
    }
    const title = [...card.findings.map((finding) => this.#said(finding)), card.caption ?? ""].join("\n");
    const element = make("button", "incontext-card", parts, { type: "button", title, "data-set": card.name });
    element.classList.toggle("incontext-open", isOpen);
    element.classList.toggle("incontext-left-out", card.isLeftOut);
    element.addEventListener("click", () => {
      if (!this.#opened.delete(card.name)) this.#opened.add(card.name);
      this.#draw();
      const cards = [...this.cards.element.children]; // new ones: the keyboard stays where it was
      cards.find((each) => each.dataset.set === card.name)?.focus({ preventScroll: true });
    });
    return element;
  }

  #line(finding) {
    return make("p", `incontext-finding incontext-${finding.level}`, [this.#said(finding)]);
  }

  #said({ file, problem, remedy }) {
    const { translate } = this.#page;
    return [file && `${file}:`, translate(problem), translate(remedy)].filter(Boolean).join(" ");
  }
}
