/** What a chart draws: curves of one run, or the loss of several. Values only; `chart.mjs` draws them. */

import { spread, union } from "./columns.mjs";
import * as numbers from "./numbers.mjs";

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {string} colour  a custom property of the stylesheet
 * @property {number} width
 * @property {(number | null)[]} values  one for each step of the curves
 * @property {(value: number) => string} write  a value as people read it
 * @property {"loss" | "rate"} scale
 * @property {boolean} [hasGaps]  not every step has a value; those that have are marked
 * @property {boolean} [isDashed]
 */

/** @typedef {{steps: number[], lines: Line[]}} Curves */

/** Custom properties of the stylesheet, for runs that are compared. */
export const COLOURS = [1, 2, 3, 4, 5, 6].map((number) => `--incontext-run-${number}`);

/**
 * Loss, smoothed loss, validation and learning rate of a run.
 * @param {import("./run_state.mjs").Series} series
 * @param {object} words
 * @param {boolean} isSmall  only what can be told apart on a node
 * @returns {Curves}
 */
export function curvesOfRun(series, words, isSmall) {
  const [steps, loss, smoothed, validation, rate] = series.columns();
  const line = (label, colour, values, more = {}) => ({
    ...{ label, colour, values, width: 1, write: numbers.loss, scale: "loss" },
    ...more,
  });
  const lines = [
    line(words.rawLoss, "--incontext-loss-raw", loss),
    line(words.loss, "--incontext-loss", smoothed, { width: 2 }),
  ];
  if (series.validation.size) {
    lines.push(line(words.validation, "--incontext-validation", validation, { width: 1.5, hasGaps: true }));
  }
  if (!isSmall) {
    const more = { write: numbers.rate, scale: "rate", isDashed: true };
    lines.push(line(words.learningRate, "--incontext-rate", rate, more));
  }
  return { steps, lines };
}

/**
 * The smoothed loss of several runs by step.
 * @param {{label: string, series: import("./run_state.mjs").Series}[]} runs
 * @returns {Curves}
 */
export function curvesOfRuns(runs) {
  const steps = union(runs.map(({ series }) => series.step));
  const lines = runs.map(({ label, series }, index) => ({
    label,
    colour: COLOURS[index % COLOURS.length],
    width: 2,
    values: spread(series.step, series.smoothed, steps),
    write: numbers.loss,
    scale: "loss",
    hasGaps: true,
  }));
  return { steps, lines };
}
