/** The sd-scripts trainer: whether it is there, what an installation takes, and its log while it is made. */

import { make } from "../dom.mjs";
import { fill } from "../words.mjs";
import { button, Part } from "./parts.mjs";

export class TrainerView {
  #desk;
  #words;
  #tell;

  constructor(desk, words, tell) {
    this.#desk = desk;
    this.#words = words;
    this.#tell = tell;
    this.about = new Part("div", "incontext-trainer");
    this.log = new Part("pre", "incontext-log");
    this.element = make("div", "", [this.about.element, this.log.element]);
  }

  async look() {
    const trainer = await this.#desk.get("/trainer").catch(() => null);
    if (trainer) this.#show(trainer);
  }

  #show(trainer) {
    const words = this.#words;
    this.about.draw({ ...trainer, log: null }, () => {
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
        ...(trainer.space ? [make("p", "incontext-problem", [trainer.space])] : []),
        this.#button(fill(words.install, trainer), "install"),
      ];
    });
    const isNew = this.log.draw(trainer.log, () => [trainer.log.join("\n")]);
    this.log.element.hidden = !trainer.log.length;
    if (isNew && trainer.busy) this.log.element.scrollIntoView({ block: "end" });
  }

  #button(text, action) {
    const element = button(text, "", async () => {
      try {
        this.#show(await this.#desk.post("/trainer", { action }));
      } catch (error) {
        this.#tell(error.message, true);
      }
    });
    element.dataset.action = action;
    return make("p", "", [element]);
  }
}
