/** Parts of the monitor that the panel and the nodes share. Each is rebuilt only when its content has changed. */

import { make, onPress } from "../dom.mjs";
import { fill } from "../words.mjs";
import * as numbers from "./numbers.mjs";
import { actionsOf } from "./run_state.mjs";

/**
 * @typedef {object} Page  what the parts of the monitor take from ComfyUI's page
 * @property {object} words
 * @property {string} locale
 * @property {(text: string) => string} translate  a sentence of the server in the user's language
 * @property {(text: string, isProblem?: boolean) => void} tell  say something to the user
 * @property {(question: string, hint: string) => Promise<boolean>} confirm  ask before something is lost
 * @property {(run: object) => Promise<void>} resume  continue a run
 * @property {() => void} onNewLora
 */

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
  onPress(element, act);
  return element;
}

/** The state of a run as a coloured word. */
export function badge(run, words) {
  return make("span", badgeClass(run), [words[run.state] ?? run.state]);
}

export const badgeClass = (run) => `incontext-badge incontext-${run.state}`;

/** What a run does now, counted where it counts. */
export function phase(run, { words, translate }) {
  const name = translate(run.phase);
  return run.phase_total > 0 ? fill(words.counted, { phase: name, done: run.phase_done, total: run.phase_total }) : name;
}

/**
 * Phase, step, time left, pace, loss, learning rate and memory, as far as they are known; of a run that is over only what
 * is still true.
 * @returns {string[]}
 */
export function facts(run, page) {
  const { words } = page;
  const isTraining = run.state === "running";
  const seconds = run.seconds_per_step;
  return [
    isTraining && run.phase && phase(run, page),
    run.steps > 0 && fill(words.step, { step: run.step, steps: run.steps }),
    isTraining && run.seconds_left > 0 && fill(words.left, { time: numbers.duration(run.seconds_left) }),
    run.smoothed != null && `${words.loss} ${numbers.loss(run.smoothed)}`,
    isTraining && seconds > 0 && fill(words.pace, { seconds: seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1) }),
    isTraining && run.learning_rate != null && fill(words.rate, { rate: numbers.rate(run.learning_rate) }),
    isTraining && run.memory > 0 && fill(words.memory, { gigabytes: run.memory.toFixed(1) }),
    run.machine && isTraining && fill(words.onMachine, { machine: run.machine }),
  ].filter(Boolean);
}

/** A run's state, facts, progress, what went wrong, and what can be asked of it. */
export class Head {
  /**
   * @param {import("./desk.mjs").Desk} desk
   * @param {Page} page
   */
  constructor(desk, page) {
    this.desk = desk;
    this.page = page;
    this.title = new Part("div", "incontext-title");
    this.facts = new Part("div", "incontext-facts");
    this.buttons = new Part("div", "incontext-buttons");
    this.message = new Part("div", "incontext-message");
    this.bar = make("div", "incontext-bar", [make("div")]);
    const line = make("div", "incontext-line", [this.title.element, this.buttons.element]);
    this.element = make("div", "incontext-head", [line, this.facts.element, this.bar, this.message.element]);
  }

  /** @param {import("./run_state.mjs").RunState} state */
  show(state) {
    const { run, notes, asked } = state;
    const { page, desk } = this;
    const { words } = page;
    const name = make("b", "", [shownName(run)], { title: run.name });
    this.title.draw([run.name, run.label, run.state], () => [name, badge(run, words)]);
    this.facts.draw(facts(run, page), () => facts(run, page).map((fact) => make("span", "", [fact])));
    const share = run.state === "finished" ? 1 : run.steps > 0 ? run.step / run.steps : 0;
    this.bar.firstChild.style.width = `${100 * Math.min(1, share)}%`;
    this.bar.className = `incontext-bar incontext-${run.state}`;
    const message = desk.isAnswering ? page.translate(messageOf(run, notes, words)) : words.noAnswer;
    this.message.element.classList.toggle("incontext-problem", ["failed", "damaged"].includes(run.state) || !desk.isAnswering);
    this.message.draw(message, () => [message]);
    const actions = actionsOf(run, asked.has("stop"));
    this.buttons.draw([run.name, actions, [...asked.keys()]], () => actions.map((what) => this.#button(state, what)));
  }

  /** A button that says at once that it was pressed, and until it is done. */
  #button(state, what) {
    const { page, desk } = this;
    const { words } = page;
    const isAsked = state.asked.has(what);
    const element = button(words[isAsked ? `${what}Asked` : what], words[`${what}Hint`], async () => {
      element.textContent = words[`${what}Asked`];
      try {
        if (what === "resume") await page.resume(state.run);
        else await desk.request(state.name, what);
      } catch (error) {
        element.textContent = words[what];
        page.tell(page.translate(error.message), true);
      }
      this.show(state);
      desk.lookNow();
    });
    element.disabled = isAsked;
    element.dataset.action = what;
    return element;
  }
}

/** The name that the user gave a run, else that of its folder. */
export const shownName = (run) => run.label || run.name;

/** What the user should know: while it trains its notes, afterwards why it ended, or where the LoRA is. */
function messageOf(run, notes, words) {
  if (run.state === "running") return notes.join("\n");
  return run.error || (run.lora && fill(words.loraIs, { lora: run.lora }));
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
