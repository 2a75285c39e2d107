/** What is known of a run so far, put together from the server's answers; see nodes/server/run_routes.py. */

import { spread, union } from "./columns.mjs";

/** The columns of the chart by step. What a resumed run did again takes the place of what it had done before. */
export class Series {
  step = [];
  loss = [];
  smoothed = [];
  rate = [];
  /** @type {Map<number, number>} */
  validation = new Map();

  clear() {
    this.#keep(0);
    this.validation.clear();
  }

  /** @param {{step: number[], loss: number[], smoothed: number[], learning_rate: number[]}} points */
  add(points) {
    for (const [index, step] of points.step.entries()) {
      if (!Number.isFinite(step)) continue;
      if (this.step.length && step <= this.step.at(-1)) this.#goBackTo(step);
      this.step.push(step);
      this.loss.push(points.loss[index]);
      this.smoothed.push(points.smoothed[index]);
      this.rate.push(points.learning_rate[index]);
    }
  }

  /** Columns of one length for the chart, which later steps do not change: step, loss, smoothed, validation, learning rate. */
  columns() {
    const measured = [...this.validation.keys()].sort((one, other) => one - other);
    const steps = union([this.step, measured]);
    const of = (column) => spread(this.step, column, steps);
    const losses = measured.map((step) => this.validation.get(step));
    return [steps, of(this.loss), of(this.smoothed), spread(measured, losses, steps), of(this.rate)];
  }

  #goBackTo(step) {
    let length = this.step.length;
    while (length && this.step[length - 1] >= step) length--;
    this.#keep(length);
    for (const measured of [...this.validation.keys()]) if (measured >= step) this.validation.delete(measured);
  }

  #keep(length) {
    for (const column of [this.step, this.loss, this.smoothed, this.rate]) column.length = length;
  }
}

/** Which request an event says was carried out. */
const DONE = { checkpoint: "save", sample: "sample" };

export class RunState {
  /** @param {string} name  of the run's folder */
  constructor(name) {
    this.name = name;
    /** @type {Map<string, number>} what was asked for and is not done yet → when, in the server's time */
    this.asked = new Map();
    /** @type {{what: string, step: number}[]} what was done of that, until somebody takes it from here */
    this.done = [];
    this.clear();
  }

  clear() {
    this.offset = 0;
    /** @type {object | null} the server's summary */
    this.run = null;
    this.layout = null;
    /** @type {string[]} what the user should know about the run, since it was last started */
    this.notes = [];
    this.checkpoints = [];
    this.series = new Series();
    /** @type {Map<string, number>} file → step */
    this.samples = new Map();
    /** @type {Map<string, number>} file → when it was written: names repeat when a run is resumed or started again */
    this.versions = new Map();
  }

  /**
   * Take an answer of the server.
   * @returns {boolean} whether there is more to ask for at once
   */
  take({ run, layout, checkpoints, news }) {
    if (news.from !== this.offset) {
      this.clear(); // another run under this name
      this.asked.clear();
    }
    Object.assign(this, { run, layout, checkpoints, offset: news.offset });
    this.series.add(news.points);
    for (const event of news.events) {
      if (event.event === "started") this.notes = [];
      if (event.event === "note" && event.text) this.notes.push(String(event.text));
      if (event.event === "sample") {
        this.samples.set(event.file, event.step);
        this.versions.set(event.file, event.time ?? 0);
      }
      const what = DONE[event.event];
      if (this.asked.has(what) && event.time >= this.asked.get(what)) this.#finish(what, event.step);
      if (event.event === "validation" && Number.isFinite(event.loss)) this.series.validation.set(event.step, event.loss);
    }
    if (run.state !== "running" && !news.more) {
      if (this.asked.has("stop")) this.#finish("stop", run.step);
      this.asked.clear(); // nobody is there any more who would do it
    }
    return news.more;
  }

  #finish(what, step) {
    this.asked.delete(what);
    this.done.push({ what, step });
  }

  /** Files of the samples by step, the newest step first. @returns {{step: number, files: string[]}[]} */
  get sampleSteps() {
    const steps = new Map();
    for (const [file, step] of this.samples) steps.set(step, [...(steps.get(step) ?? []), file]);
    return [...steps].map(([step, files]) => ({ step, files: files.sort() })).sort((one, other) => other.step - one.step);
  }
}

/** The run that a training node is about: the one it resumes, else the newest of its name; undefined if there is none. */
export function runOfNode(runs, { trainer, name, resume }) {
  if (resume && resume !== "none") return runs.find((run) => run.name === resume);
  return runs.find((run) => run.trainer === trainer && run.title === name);
}

/** The run to show at first: one that runs, else the newest. */
export function firstRun(runs) {
  return runs.find((run) => run.state === "running") ?? runs[0];
}

/**
 * What can be asked of a run, in the order of the buttons.
 * @param {object} run
 * @param {boolean} isStopping  whether it was asked to stop; a process of its own can then be ended at once
 * @returns {string[]}
 */
export function actionsOf(run, isStopping) {
  if (run.state === "running") {
    return isStopping && run.trainer === "sd-scripts" ? ["stop", "end"] : ["stop", "save", "sample"];
  }
  return run.resumable ? ["resume"] : [];
}
