/** A run's comparison: the choice and its reason, one line per candidate, and the grids of pictures. */

import { make } from "../dom.mjs";
import { fill, inLanguage } from "../words.mjs";
import { Part } from "./parts.mjs";

const ENGLISH = {
  comparison: "Comparison",
  none: "No comparison of this training yet. Choose it in a Compare Checkpoints node, or run the template compare-and-choose.",
  chosen: "{candidate} is chosen.",
  nothingChosen: "None is chosen; the base model stays as it is.",
  inUse: "It is {lora} in output/loras.",
  candidate: "candidate",
  rejected: "rejected",
  likeness: "Likeness: {measure}.",
  grid: "Grid of caption {number}",
};

const CHINESE = {
  comparison: "比较",
  none: "此训练尚未比较。请在“比较检查点”节点中选择它，或运行模板 compare-and-choose。",
  chosen: "选中了 {candidate}。",
  nothingChosen: "没有选中任何候选；保持使用基础模型。",
  inUse: "它在 output/loras 中名为 {lora}。",
  candidate: "候选",
  rejected: "已排除",
  likeness: "相似度：{measure}。",
  grid: "第 {number} 条提示词的网格图",
};

/**
 * @param {string} locale
 * @returns {typeof ENGLISH}
 */
export function wordsOf(locale) {
  return inLanguage(locale, ENGLISH, CHINESE);
}

/**
 * The lines of the table, best first.
 * @param {object} comparison  as in comparison.json
 * @returns {{label: string, isChosen: boolean, rejected: string[], values: {text: string, tells: string}[]}[]}
 */
export function lines(comparison) {
  const scores = Object.entries(comparison.scores);
  return comparison.choice.standings.map(({ candidate, rejected, means }) => ({
    label: candidate,
    isChosen: candidate === comparison.choice.chosen,
    rejected,
    values: scores.map(([name, { tells }]) => ({ text: name in means ? means[name].toFixed(3) : "–", tells })),
  }));
}

/** The choice in a few sentences. */
export function headline(comparison, words) {
  const { chosen } = comparison.choice;
  const first = chosen ? fill(words.chosen, { candidate: chosen }) : words.nothingChosen;
  return [first, comparison.lora ? fill(words.inUse, { lora: comparison.lora }) : ""].filter(Boolean).join(" ");
}

export class ComparisonView {
  #desk;
  #translate;
  #words;
  #wanted = "";
  #part = new Part("div", "incontext-comparison");

  /**
   * @param {import("./desk.mjs").Desk} desk
   * @param {{locale: string, translate: (text: string) => string}} page
   */
  constructor(desk, { locale, translate }) {
    this.#desk = desk;
    this.#translate = translate;
    this.#words = wordsOf(locale);
  }

  get element() {
    return this.#part.element;
  }

  get title() {
    return this.#words.comparison;
  }

  /** Ask for a run's newest comparison and show it. */
  async show(run) {
    this.#wanted = run;
    const path = `/runs/${encodeURIComponent(run)}/comparison`;
    const answer = await this.#desk.get(path).catch((error) => ({ error: error.message }));
    if (run !== this.#wanted) return; // another run was chosen meanwhile
    const { comparison, version, error } = answer;
    this.#part.draw([run, version, error, comparison?.choice], () => {
      if (error) return [make("p", "incontext-note", [this.#translate(error)])];
      if (!comparison) return [make("p", "incontext-note", [this.#words.none])];
      return [...this.#about(comparison), this.#table(comparison), ...this.#grids(run, comparison, version)];
    });
  }

  #about(comparison) {
    const words = this.#words;
    const translate = this.#translate;
    const likeness = fill(words.likeness, { measure: translate(comparison.measure) });
    const remarks = [translate(comparison.choice.reason), likeness, ...comparison.remarks.map(translate)];
    return [make("h4", "", [headline(comparison, words)]), ...remarks.map((text) => make("p", "incontext-note", [text]))];
  }

  #table(comparison) {
    const words = this.#words;
    const translate = this.#translate;
    const titles = Object.values(comparison.scores).map(({ title, tells, blind }) =>
      make("th", "", [translate(title)], { title: `${translate(tells)} ${translate(blind)}` }),
    );
    const rows = lines(comparison).map(({ label, isChosen, rejected, values }) => {
      const name = make("th", "", [label, ...(rejected.length ? [make("small", "", [` ${words.rejected}`])] : [])], {
        scope: "row",
        title: rejected.map(translate).join("\n"),
      });
      const row = make("tr", "", [name, ...values.map(({ text, tells }) => make("td", "", [text], { title: translate(tells) }))]);
      row.classList.toggle("incontext-chosen", isChosen);
      row.classList.toggle("incontext-rejected", rejected.length > 0);
      return row;
    });
    const head = make("tr", "", [make("th", "", [words.candidate]), ...titles]);
    return make("table", "", [make("thead", "", [head]), make("tbody", "", rows)]);
  }

  #grids(run, comparison, version) {
    return comparison.grids.map((file, number) => {
      const url = this.#desk.comparisonUrl(run, file, version);
      const caption = comparison.captions[number];
      const alt = fill(this.#words.grid, { number: number + 1 });
      const picture = make("img", "", [], { src: url, alt, title: caption, loading: "lazy" });
      return make("a", "incontext-grid", [picture], { href: url, target: "_blank", rel: "noopener" });
    });
  }
}
