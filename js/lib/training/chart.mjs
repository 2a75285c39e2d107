/** Curves by step, drawn by uPlot; ten thousand steps stay fluid, since it draws each pixel column once. */

import uPlot from "../vendor/uPlot.esm.mjs";
import { fill } from "../words.mjs";

const LETTER = 6.2; // pixels, of the axes' font
const INTERVALS = [1, 2, 5].flatMap((digit) => [0, 1, 2, 3, 4, 5, 6].map((power) => digit * 10 ** power)).sort((a, b) => a - b);

export class Chart {
  #element;
  #words;
  #isSmall;
  /** @type {uPlot | null} */
  #plot = null;
  /** @type {import("./curves.mjs").Curves | null} */
  #curves = null;
  #drawnAs = "";

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
    // the theme is a class of the body and custom properties of the document
    const theme = new MutationObserver(() => this.#fit());
    for (const owner of [document.body, document.documentElement]) {
      theme.observe(owner, { attributes: true, attributeFilter: ["class", "style"] });
    }
  }

  /** @param {import("./curves.mjs").Curves} curves */
  show(curves) {
    this.#curves = curves;
    this.#fit();
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#element;
    if (!this.#curves || width < 60 || height < 40) return;
    const { steps, lines } = this.#curves;
    const columns = [steps, ...lines.map(({ values }) => values)];
    const colours = this.#colours();
    const drawnAs = JSON.stringify([lines.map(({ label }) => label), colours]);
    if (drawnAs !== this.#drawnAs) {
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(width, height, colours), columns, this.#element);
      this.#drawnAs = drawnAs;
    } else if (this.#plot.data[0] !== steps) {
      this.#update(columns);
    }
    this.#element.dataset.lastStep = String(steps.at(-1) ?? ""); // for whoever asks how far the curve goes
    const legend = this.#plot.root.querySelector(".u-legend")?.offsetHeight ?? 0;
    this.#plot.setSize({ width, height: Math.max(40, height - legend) });
  }

  /** New data; what the user has zoomed to stays. */
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

  /** What the theme has for text, grid and lines. */
  #colours() {
    const style = getComputedStyle(this.#element);
    const colour = (name) => style.getPropertyValue(name).trim() || "#888";
    return {
      text: colour("--descrip-text"),
      grid: colour("--border-color"),
      lines: this.#curves.lines.map((line) => colour(line.colour)),
    };
  }

  #options(width, height, colours) {
    const words = this.#words;
    const axis = {
      stroke: colours.text,
      grid: { stroke: colours.grid, width: 0.5 },
      ticks: { show: false },
      font: "11px Inter, system-ui, sans-serif",
      gap: 4,
    };
    const written = (values) => values.map((value) => String(Number(value.toPrecision(6))));
    const series = this.#curves.lines.map((line, index) => ({
      label: line.label,
      scale: line.scale === "rate" ? "rate" : "y",
      stroke: colours.lines[index],
      width: line.width,
      dash: line.isDashed ? [4, 3] : undefined,
      spanGaps: Boolean(line.hasGaps),
      points: line.hasGaps ? { show: true, size: 5, fill: colours.lines[index], filter: alone } : { show: false },
      value: (plot, value) => (value == null ? "" : line.write(value)),
    }));
    return {
      width,
      height,
      padding: [8, 24, 0, 0],
      legend: { show: !this.#isSmall },
      cursor: this.#isSmall ? { show: false } : { points: { size: 5 }, y: false },
      scales: { x: { time: false }, rate: { range: (plot, low, high) => [0, 1.05 * (high || 1)] } },
      axes: [
        {
          ...axis,
          size: this.#isSmall ? 20 : 32,
          label: this.#isSmall ? undefined : words.stepAxis,
          labelSize: 14,
          labelGap: 0,
          labelFont: axis.font,
          incrs: INTERVALS,
          values: (plot, values) => values.map((value) => value.toLocaleString("en")),
        },
        {
          ...axis,
          size: (plot, texts) => 12 + LETTER * Math.max(3, ...(texts ?? []).map((text) => text.length)),
          values: (plot, values) => written(values),
        },
      ],
      series: [
        { label: "", value: (plot, step) => (step == null ? "" : fill(words.atStep, { step: step.toLocaleString("en") })) },
        ...series,
      ],
    };
  }
}

/** The points of a line that stand alone; the others can be seen by the line between them. */
function alone(plot, index, isShown) {
  if (!isShown) return null;
  const values = plot.data[index];
  const there = [];
  for (let place = 0; place < values.length; place++) {
    if (values[place] != null && values[place - 1] == null && values[place + 1] == null) there.push(place);
  }
  return there;
}
