/** Asks the server for what is in view, and does what buttons say. One for the page. */

import { RunState } from "./run_state.mjs";

const ROOT = "/incontext_lora";
const BRISK = 1000; // milliseconds between looks while something runs
const CALM = 3000;

/**
 * @typedef {object} View  something on the page that shows trainings
 * @property {HTMLElement} element  asked for news only while it can be seen
 * @property {(desk: Desk) => string | undefined} wants  the run that it shows in full
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
  /** @type {object[]} summaries, newest first */
  runs = [];
  isKnown = false;
  isAnswering = true;
  /** Runs that were asked to stop in this page. */
  stopping = new Set();

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
    return this.#ask(path, {});
  }

  post(path, body = {}) {
    const headers = { "Content-Type": "application/json" };
    return this.#ask(path, { method: "POST", headers, body: JSON.stringify(body) });
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
        for (const name of new Set(seen.map((view) => view.wants(this)).filter(Boolean))) await this.#follow(name);
        this.isAnswering = true;
      } catch {
        this.isAnswering = false; // the next look may be luckier
      }
      for (const run of this.runs) if (run.state !== "running") this.stopping.delete(run.name);
      for (const view of seen) void view.show(this);
    }
    this.#looking = false;
    const isBrisk = this.runs.some((run) => run.state === "running");
    this.#timer = setTimeout(() => void this.#look(), this.#again ? 0 : isBrisk || !seen.length ? BRISK : CALM);
  }

  async #follow(name) {
    const state = this.#states.get(name) ?? new RunState(name);
    let more = true;
    while (more) more = state.take(await this.get(`/runs/${encodeURIComponent(name)}?from=${state.offset}`));
    this.#states.set(name, state);
  }

  async #ask(path, options) {
    const response = await this.#api.fetchApi(ROOT + path, options);
    const answer = await response.json().catch(() => ({ error: `${response.status} ${response.statusText}` }));
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }
}

/** Whether an element can be seen: it is on the page, and neither it nor anything around it is hidden. */
export function isSeen(element) {
  return element.isConnected && (element.checkVisibility?.() ?? element.offsetParent !== null);
}
