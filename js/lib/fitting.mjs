/**
 * How an image of any size comes into its panel: the same as incontext/panels/fit.py. tests/js/fitting_cases.json, written by the
 * Python side, keeps the two equal.
 *
 * @typedef {import("./layout.mjs").Box} Box
 * @typedef {{fit: string, align: string}} Fitting
 */

import { panelIndex } from "./choice.mjs";
import { halfToEven } from "./layout.mjs";

const FITS = ["cover", "contain", "contain, extend edges", "stretch", "exact"];
const ALIGNMENTS = [
  ...["center", "top", "bottom", "left", "right"],
  ...["top left", "top right", "bottom left", "bottom right"],
];

/**
 * Where an image goes.
 * @param {number} width  of the image
 * @param {number} height
 * @param {{width: number, height: number}} panel
 * @param {Fitting} fitting
 * @returns {{crop: Box, content: Box} | null} the part of the image that is seen, in its pixels, and where that lies in the
 *   panel; null if `exact` refuses the size
 */
export function placed(width, height, panel, { fit, align }) {
  const whole = { left: 0, top: 0, width, height };
  const all = { left: 0, top: 0, width: panel.width, height: panel.height };
  if ((width === panel.width && height === panel.height) || fit === "stretch") return { crop: whole, content: all };
  if (fit === "exact") return null;
  if (fit === "cover") return { crop: inscribed(whole, panel.width, panel.height, align), content: all };
  return { crop: whole, content: inscribed(all, width, height, align) };
}

/**
 * The fitting of every panel, from the common one and lines such as `2: contain, top`; null if a line cannot be read.
 * @param {string[]} names  of the panels
 * @param {Fitting} common
 * @param {string} exceptions
 * @returns {Fitting[] | null}
 */
export function fittings(names, common, exceptions) {
  const every = names.map(() => common);
  for (const line of exceptions.split("\n").filter((each) => each.trim())) {
    const [panel, ...rest] = line.split(":");
    const index = panelIndex(panel.trim(), names);
    if (index < 0) return null;
    // the one fit with a comma in its name
    const words = rest.join(":").toLowerCase().replace(/contain\s*,\s*extend/g, "contain; extend").split(",");
    for (const word of words.map((each) => each.trim().replaceAll(";", ","))) {
      if (FITS.includes(word)) every[index] = { ...every[index], fit: word };
      else if (ALIGNMENTS.includes(word)) every[index] = { ...every[index], align: word };
      else return null;
    }
  }
  return every;
}

/** The largest box of proportions `width:height` in `outer`, in whole pixels. */
function inscribed(outer, width, height, align) {
  const isWider = outer.width * height >= outer.height * width;
  const size = isWider
    ? { width: Math.max(1, halfToEven((outer.height * width) / height)), height: outer.height }
    : { width: outer.width, height: Math.max(1, halfToEven((outer.width * height) / width)) };
  const share = (low, high) => (align.includes(low) ? 0 : align.includes(high) ? 1 : 0.5);
  return {
    left: halfToEven((outer.width - size.width) * share("left", "right")),
    top: halfToEven((outer.height - size.height) * share("top", "bottom")),
    ...size,
  };
}
