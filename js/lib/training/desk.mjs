/** Asks the server for what is in view, and does what buttons say. One for the page. */

import { ROOT, getJson, postJson } from "../server.mjs";
import { RunState } from "./run_state.mjs";

const BRISK = 1000; // milliseconds between looks while something runs
const CALM = 3000;
const BUDGET = 250; // milliseconds in which a long run is read before what is known of it is shown

/**
 * @typedef {object} View  something on the page that shows trainings
 * @property {HTMLElement} element  asked for news only while it can be seen
 * @property {(desk: Desk) => (string | undefined)[]} wants  the runs that it shows in full, the most important first
 * @property {(desk: Desk) => void | Promise<void>} show  called with news
 */

export class Desk {
  #api;
  /** @type {Set<View>} */
  #views = new Set();
  /** @type {Map<string, RunState>} */
  #states = new Map();
  #timer = 0;
  #looking = false;
  #again = false;
  /** Runs with events that have not been read yet. */
  #unread = new Set();
  /** @type {object[]} summaries, newest first */
  runs = [];
  isKnown = false;
  isAnswering = true;
  /** Called with what somebody asked for in this page, as soon as it is done: `(run, what, step)`. */
  onDone = (name, what, step) => {};

  constructor(api) {
    this.#api = api;
  }

  /** @param {View} view */
  add(view) {
    this.#views.add(view);
    this.lookNow();
  }

  /** @param {View} view */
  remove(view) {
    this.#views.delete(view);
  }

  /** What is known of a run; undefined until it was asked for. */
  state(name) {
    return this.#states.get(name);
  }

  /** Whether everything that has happened in a run so far has been read. */
  isWhole(name) {
    return this.#states.has(name) && !this.#unread.has(name);
  }

  /**
   * Ask a run to stop, to save or to sample; `onDone` says when it has.
   * @param {string} name
   * @param {"stop" | "save" | "sample" | "end"} what
   */
  async request(name, what) {
    const { time } = await this.post(`/runs/${encodeURIComponent(name)}/ask`, { what });
    this.state(name)?.asked.set(what === "end" ? "stop" : what, time);
    this.lookNow();
  }

  /** Ask now, not at the next turn. */
  lookNow() {
    if (this.#looking) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    void this.#look();
  }

  get(path) {
    return getJson(this.#api, path);
  }

  post(path, body = {}) {
    return postJson(this.#api, path, body);
  }

  /**
   * Address of a sample, for an image. Browsers show what they have under an address, so it is another for another version.
   * @param {string} run
   * @param {string} file
   * @param {number} [version]  when it was written
   */
  sampleUrl(run, file, version = 0) {
    const path = `${ROOT}/runs/${encodeURIComponent(run)}/samples/${encodeURIComponent(file)}`;
    return this.#api.apiURL(version ? `${path}?version=${version}` : path);
  }

  /** Address of a grid of a run's comparison; another one for another version. */
  comparisonUrl(run, file, version) {
    const path = `${ROOT}/runs/${encodeURIComponent(run)}/comparison/${encodeURIComponent(file)}`;
    return this.#api.apiURL(`${path}?version=${encodeURIComponent(version)}`);
  }

  /** Address of a set's small picture. */
  setUrl(dataset, id) {
    return this.#api.apiURL(`${ROOT}/datasets/${encodeURIComponent(dataset)}/${id}`);
  }

  async #look() {
    this.#looking = true;
    this.#again = false;
    const seen = document.hidden ? [] : [...this.#views].filter((view) => isSeen(view.element));
    if (seen.length) {
      try {
        this.runs = (await this.get("/runs")).runs;
        this.isKnown = true;
        const deadline = performance.now() + BUDGET;
        this.#unread.clear();
        for (const name of new Set(seen.flatMap((view) => view.wants(this)).filter(Boolean))) {
          await this.#follow(name, deadline);
        }
        this.isAnswering = true;
      } catch {
        this.isAnswering = false; // the next look may be luckier
      }
      for (const view of seen) void view.show(this);
    }
    this.#looking = false;
    const isBrisk = this.runs.some((run) => run.state === "running");
    const isAtOnce = this.#again || (this.isAnswering && this.#unread.size > 0);
    this.#timer = setTimeout(() => void this.#look(), isAtOnce ? 0 : isBrisk || !seen.length ? BRISK : CALM);
  }

  /** Ask for what is new of a run; what does not come before the deadline comes with the next look. */
  async #follow(name, deadline) {
    const state = this.#states.get(name) ?? new RunState(name);
    let more = true;
    do more = state.take(await this.get(`/runs/${encodeURIComponent(name)}?from=${state.offset}`));
    while (more && performance.now() < deadline);
    if (more) this.#unread.add(name);
    this.#states.set(name, state);
    for (const { what, step } of state.done.splice(0)) this.onDone(name, what, step);
  }
}

/** Whether an element can be seen: it is on the page, and neither it nor anything around it is hidden. */
export function isSeen(element) {
  return element.isConnected && (element.checkVisibility?.() ?? element.offsetParent !== null);
}
