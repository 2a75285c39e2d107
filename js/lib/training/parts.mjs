/** Parts of the monitor that the panel and the nodes share. Each is built anew only when what it shows has changed. */

import { make } from "../dom.mjs";
import { fill } from "../words.mjs";
import * as numbers from "./numbers.mjs";
import { actionsOf } from "./run_state.mjs";

/** An element whose content is built from a value, and only where that differs from the last one. */
export class Part {
  #drawn = "";

  constructor(tag, className) {
    this.element = make(tag, className);
  }

  /**
   * @param {unknown} value  decides whether to build; anything that JSON holds
   * @param {() => (Node | string)[]} build
   */
  draw(value, build) {
    const drawn = JSON.stringify(value) ?? "";
    if (drawn === this.#drawn) return false;
    this.#drawn = drawn;
    this.element.replaceChildren(...build());
    return true;
  }
}

/** A button that cannot be pressed again before its work is done. */
export function button(text, hint, act) {
  const element = make("button", "incontext-button", [text], { type: "button", title: hint });
  element.addEventListener("click", async () => {
    element.disabled = true;
    try {
      await act();
    } finally {
      element.disabled = false;
    }
  });
  return element;
}

/** The state of a run as a coloured word. */
export function badge(run, words) {
  return make("span", `incontext-badge incontext-${run.state}`, [words[run.state] ?? run.state]);
}

/** Phase, step, time left, pace, loss, learning rate and memory, as far as they are known. @returns {string[]} */
export function facts(run, words) {
  const isTraining = run.state === "running";
  const seconds = run.seconds_per_step;
  return [
    isTraining && run.phase,
    run.steps > 0 && fill(words.step, { step: run.step, steps: run.steps }),
    isTraining && run.seconds_left > 0 && fill(words.left, { time: numbers.duration(run.seconds_left) }),
    run.smoothed != null && `${words.loss} ${numbers.loss(run.smoothed)}`,
    seconds > 0 && fill(words.pace, { seconds: seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1) }),
    run.learning_rate != null && fill(words.rate, { rate: numbers.rate(run.learning_rate) }),
    run.memory > 0 && fill(words.memory, { gigabytes: run.memory.toFixed(1) }),
    run.machine && isTraining && fill(words.onMachine, { machine: run.machine }),
  ].filter(Boolean);
}

/** A run's state, facts, progress, what went wrong, and what can be asked of it. */
export class Head {
  /**
   * @param {import("./desk.mjs").Desk} desk
   * @param {object} words
   * @param {(text: string, isProblem?: boolean) => void} tell  say something to the user
   */
  constructor(desk, words, tell) {
    this.desk = desk;
    this.words = words;
    this.tell = tell;
    this.title = new Part("div", "incontext-title");
    this.facts = new Part("div", "incontext-facts");
    this.buttons = new Part("div", "incontext-buttons");
    this.message = new Part("div", "incontext-message");
    this.bar = make("div", "incontext-bar", [make("div")]);
    const line = make("div", "incontext-line", [this.title.element, this.buttons.element]);
    this.element = make("div", "incontext-head", [line, this.facts.element, this.bar, this.message.element]);
  }

  show(run, notes) {
    const { words, desk } = this;
    const name = make("b", "", [run.name], { title: run.name });
    this.title.draw([run.name, run.state], () => [name, badge(run, words)]);
    this.facts.draw(facts(run, words), () => facts(run, words).map((fact) => make("span", "", [fact])));
    const share = run.state === "finished" ? 1 : run.steps > 0 ? run.step / run.steps : 0;
    this.bar.firstChild.style.width = `${100 * Math.min(1, share)}%`;
    this.bar.className = `incontext-bar incontext-${run.state}`;
    const message = desk.isAnswering ? (run.state === "running" ? notes.join("\n") : run.error || run.lora) : words.noAnswer;
    this.message.element.classList.toggle("incontext-problem", ["failed", "damaged"].includes(run.state) || !desk.isAnswering);
    this.message.draw(message, () => [message]);
    const actions = actionsOf(run, desk.stopping.has(run.name));
    this.buttons.draw([run.name, actions], () => actions.map((what) => this.#button(run.name, what)));
  }

  #button(name, what) {
    const { words, desk } = this;
    const element = button(words[what], words[`${what}Hint`], async () => {
      try {
        const path = `/runs/${encodeURIComponent(name)}`;
        if (what === "resume") await desk.post(`${path}/resume`);
        else await desk.post(`${path}/ask`, { what });
        if (what === "stop") desk.stopping.add(name);
        this.tell(what === "resume" ? words.resuming : words.asked);
      } catch (error) {
        this.tell(error.message, true);
      }
      desk.lookNow();
    });
    element.dataset.action = what;
    return element;
  }
}

/**
 * A sample, cut into its panels; whole where its layout is not known. A click opens it as it is.
 * @param {string} url
 * @param {{width: number, height: number, panels: {name: string, box: number[]}[]} | null} layout
 */
export function samplePicture(url, layout) {
  const attributes = { href: url, target: "_blank", rel: "noopener" };
  if (!layout) {
    const image = make("img", "", [], { src: url, loading: "lazy", alt: "" });
    return make("a", "incontext-sample", [image], attributes);
  }
  const sample = make("a", "incontext-sample incontext-cut", [], attributes);
  sample.style.setProperty("--incontext-ratio", String(layout.width / layout.height));
  for (const { name, box } of layout.panels) {
    const [left, top, width, height] = box;
    const image = make("img", "", [], { src: url, loading: "lazy", alt: name });
    const percent = (value, of) => `${(100 * value) / of}%`;
    Object.assign(image.style, {
      width: percent(layout.width, width),
      height: percent(layout.height, height),
      left: percent(-left, width),
      top: percent(-top, height),
    });
    const panel = make("span", "incontext-panel", [image], { title: name });
    Object.assign(panel.style, {
      left: percent(left, layout.width),
      top: percent(top, layout.height),
      width: percent(width, layout.width),
      height: percent(height, layout.height),
    });
    sample.append(panel);
  }
  return sample;
}
