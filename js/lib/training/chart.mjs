/** The curves of a training, drawn by uPlot; ten thousand steps stay fluid, since it draws each pixel column once. */

import uPlot from "../vendor/uPlot.esm.mjs";
import { fill } from "../words.mjs";
import * as numbers from "./numbers.mjs";

const LOSS = "#6c8fbf";
const SMOOTHED = "#4f9dff";
const VALIDATION = "#e8954a";
const RATE = "#8aa06c";

export class Chart {
  #element;
  #words;
  #isSmall;
  /** @type {uPlot | null} */
  #plot = null;
  #columns = null;

  /**
   * @param {HTMLElement} element  is filled; it gives the size
   * @param {object} words
   * @param {boolean} isSmall  no legend and no pointer, for a node that is drawn in any size
   */
  constructor(element, words, isSmall) {
    this.#element = element;
    this.#words = words;
    this.#isSmall = isSmall;
    new ResizeObserver(() => this.#fit()).observe(element);
  }

  /** @param {(number | null)[][]} columns  as `Series.columns` gives them */
  show(columns) {
    this.#columns = columns;
    if (!this.#plot) this.#fit();
    else this.#update(columns);
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#element;
    if (!this.#columns || width < 60 || height < 40) return;
    if (!this.#plot) {
      this.#plot = new uPlot(this.#options(width, height), this.#columns, this.#element);
    }
    const legend = this.#plot.root.querySelector(".u-legend")?.offsetHeight ?? 0;
    this.#plot.setSize({ width, height: Math.max(40, height - legend) });
  }

  #update(columns) {
    const { min, max } = this.#plot.scales.x;
    const before = this.#plot.data[0];
    const isZoomed = before.length > 1 && (min > before[0] || max < before.at(-1));
    if (isZoomed && columns[0].length) {
      this.#plot.setData(columns, false);
      this.#plot.setScale("x", { min, max });
    } else {
      this.#plot.setData(columns);
    }
  }

  #options(width, height) {
    const words = this.#words;
    const css = (name) => getComputedStyle(this.#element).getPropertyValue(name).trim() || "#888";
    const axis = {
      stroke: () => css("--descrip-text"),
      grid: { stroke: () => css("--border-color"), width: 0.5 },
      ticks: { show: false },
      font: "11px Inter, system-ui, sans-serif",
      gap: 3,
    };
    const shown = (format) => (plot, value) => (value == null ? "" : format(value));
    return {
      width,
      height,
      padding: [8, 24, 0, 0],
      legend: { show: !this.#isSmall },
      cursor: this.#isSmall ? { show: false } : { points: { size: 5 }, y: false },
      scales: { x: { time: false }, rate: { range: (plot, low, high) => [0, 1.05 * (high || 1)] } },
      axes: [
        { ...axis, size: 20, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000] },
        { ...axis, size: 48, values: (plot, values) => values.map((value) => String(Number(value.toPrecision(6)))) },
      ],
      series: [
        { label: "", value: shown((step) => fill(words.atStep, { step })) },
        { label: words.loss, stroke: `${LOSS}88`, width: 1, points: { show: false }, value: shown(numbers.loss) },
        { label: words.smoothed, stroke: SMOOTHED, width: 2, points: { show: false }, value: shown(numbers.loss) },
        {
          label: words.validation,
          stroke: VALIDATION,
          width: 1.5,
          spanGaps: true,
          points: { show: true, size: 5, fill: VALIDATION },
          value: shown(numbers.loss),
        },
        {
          label: words.learningRate,
          scale: "rate",
          stroke: RATE,
          width: 1,
          dash: [4, 3],
          show: !this.#isSmall,
          points: { show: false },
          value: shown(numbers.rate),
        },
      ],
    };
  }
}
