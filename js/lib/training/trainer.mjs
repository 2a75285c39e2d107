/** The sd-scripts trainer: whether it is there, what an installation takes, its log, and how many processes train together. */

import { make } from "../dom.mjs";
import { fill } from "../words.mjs";
import { button, Part } from "./parts.mjs";

/** What can be set of the processes, by its name on the server; the last ones only count for several machines. */
const FIELDS = [
  { name: "count", word: "processes", type: "number", min: 1 },
  { name: "machines", word: "machines", type: "number", min: 1 },
  { name: "rank", word: "machineRank", type: "number", min: 0, isForMachines: true },
  { name: "address", word: "mainAddress", type: "text", isForMachines: true },
  { name: "port", word: "mainPort", type: "number", min: 1, isForMachines: true },
];

export class TrainerView {
  #desk;
  #page;
  #words;

  /**
   * @param {import("./desk.mjs").Desk} desk
   * @param {import("./parts.mjs").Page} page
   */
  constructor(desk, page) {
    this.#desk = desk;
    this.#page = page;
    this.#words = page.words;
    this.about = new Part("div", "incontext-trainer");
    this.processes = new Part("div", "incontext-processes");
    this.log = new Part("pre", "incontext-log");
    this.element = make("div", "", [this.about.element, this.processes.element, this.log.element]);
  }

  async look() {
    const trainer = await this.#desk.get("/trainer").catch(() => null);
    if (trainer) this.#show(trainer);
  }

  #show(trainer) {
    const words = this.#words;
    this.about.draw({ ...trainer, log: null, processes: null }, () => {
      const where = make("p", "incontext-note", [fill(words.trainerWhere, trainer)]);
      if (trainer.busy) return [make("p", "", [words.busy]), where];
      if (trainer.installed) {
        const leftOut = Object.entries(trainer.left_out).map(([what, why]) =>
          make("p", "incontext-note", [fill(words.trainerLeftOut, { what, why })]),
        );
        return [make("p", "", [words.trainerIs]), where, ...leftOut, this.#button(words.check, "check")];
      }
      return [
        make("p", "", [words.trainerMissing]),
        make("p", "", [fill(words.trainerSize, trainer)]),
        where,
        ...(trainer.space ? [make("p", "incontext-problem", [this.#page.translate(trainer.space)])] : []),
        this.#button(fill(words.install, trainer), "install"),
      ];
    });
    this.processes.element.hidden = !trainer.installed || trainer.busy;
    this.processes.draw([trainer.cards, trainer.processes, trainer.processes_problem], () => this.#form(trainer));
    const isNew = this.log.draw(trainer.log, () => [trainer.log.join("\n")]);
    this.log.element.hidden = !trainer.log.length;
    if (isNew && trainer.busy) this.log.element.scrollIntoView({ block: "end" });
  }

  /** Fields for the processes, and the button that sets them. */
  #form({ cards, processes, processes_problem: problem }) {
    const words = this.#words;
    const inputs = new Map();
    const labels = FIELDS.map(({ name, word, type, min, isForMachines }) => {
      const attributes = { type, name, ...(min === undefined ? {} : { min: String(min) }) };
      const input = make("input", "", [], attributes);
      input.value = String(processes[name]);
      inputs.set(name, input);
      const label = make("label", "", [words[word], input], { title: words[`${word}Hint`] });
      label.dataset.forMachines = String(Boolean(isForMachines));
      return label;
    });
    const machines = inputs.get("machines");
    const showMachines = () => {
      for (const label of labels) label.hidden = label.dataset.forMachines === "true" && Number(machines.value) < 2;
    };
    machines.addEventListener("input", showMachines);
    showMachines();
    const set = button(words.keepProcesses, words.processesHint, () => this.#set(valuesOf(inputs)));
    set.dataset.action = "processes";
    const note = cards > 1 ? [make("span", "incontext-note", [fill(words.cards, { cards })])] : [];
    return [...labels, set, ...note, ...(problem ? [make("p", "incontext-problem", [this.#page.translate(problem)])] : [])];
  }

  async #set(values) {
    try {
      const trainer = await this.#desk.post("/trainer/processes", values);
      this.#show(trainer);
      this.#page.tell(fill(this.#words.processesAre, trainer.processes));
    } catch (error) {
      this.#page.tell(this.#page.translate(error.message), true);
    }
  }

  #button(text, action) {
    const element = button(text, "", async () => {
      try {
        this.#show(await this.#desk.post("/trainer", { action }));
      } catch (error) {
        this.#page.tell(this.#page.translate(error.message), true);
      }
    });
    element.dataset.action = action;
    return make("p", "", [element]);
  }
}

/** What is in the fields, as the server takes it: numbers as numbers. */
function valuesOf(inputs) {
  const read = ({ name, type }) => (type === "number" ? Number(inputs.get(name).value) : inputs.get(name).value.trim());
  return Object.fromEntries(FIELDS.map((field) => [field.name, read(field)]));
}
