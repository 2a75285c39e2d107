/**
 * Where the panels are: the same mathematics as incontext/panels/layout.py, so that the picture on a node shows what the server
 * will make of its values. tests/js/layout_cases.json, written by the Python side, keeps the two equal.
 *
 * @typedef {{left: number, top: number, width: number, height: number}} Box  in whole pixels of the canvas
 * @typedef {{width: number, height: number, boxes: Box[], names: string[]}} Layout
 * @typedef {{kind: string, width: number, height: number, rows: number, columns: number, columns_per_row: string,
 *   gutter: number, panel_step: string, boxes: string, names: string}} LayoutValues  the widgets of Panel Layout
 */

export const CANVAS_STEP = 64;
export const MOST_PANELS = 256;
export const LONGEST_SIDE = 16384; // pixels of the canvas
export const LARGEST_AREA = 8192 * 8192;
export const SMALLEST_PANEL = 16;

/** A layout that cannot be; the message is for the user. */
export class LayoutError extends Error {}

/**
 * The layout that Panel Layout makes of its widgets.
 * @param {LayoutValues} values
 * @returns {Layout}
 * @throws {LayoutError}
 */
export function layoutOf(values) {
  const step = Number(values.panel_step);
  const { width, height, gutter } = values;
  const made = () => {
    switch (values.kind) {
      case "rows":
        return nested(width, height, repeated(1, values.rows), gutter, step);
      case "columns":
        return nested(width, height, [values.columns], gutter, step);
      case "grid":
        return nested(width, height, repeated(values.columns, values.rows), gutter, step);
      case "nested rows":
        return nested(width, height, parseCounts(values.columns_per_row), gutter, step);
      case "boxes": {
        if (!values.boxes.trim()) {
          throw new LayoutError(
            "The kind is 'boxes', but there are no boxes. Write one 'left, top, width, height' per line.",
          );
        }
        const { boxes, names } = parseBoxes(values.boxes);
        return custom(width, height, boxes, names);
      }
      default:
        throw new LayoutError(`There is no layout kind '${values.kind}'.`);
    }
  };
  const layout = made();
  const names = parseNames(values.names);
  return names.length ? checked({ ...layout, names }) : layout;
}

/**
 * Rows that hold different numbers of columns.
 * @param {number} width
 * @param {number} height
 * @param {number[]} columnsPerRow
 * @param {number} gutter  pixels between neighbours; none around the canvas
 * @param {number} step  panel sides are multiples of it
 * @returns {Layout}
 */
export function nested(width, height, columnsPerRow, gutter = 0, step = 16) {
  checkCanvas(width, height);
  const heights = divide(height, columnsPerRow.length, gutter, step, "rows");
  const tops = starts(heights, gutter);
  const boxes = columnsPerRow.flatMap((count, row) => {
    const widths = divide(width, count, gutter, step, "columns");
    return starts(widths, gutter).map((left, column) => ({
      left,
      top: tops[row],
      width: widths[column],
      height: heights[row],
    }));
  });
  return checked({ width, height, boxes, names: defaultNames(boxes) });
}

/**
 * Explicit boxes; without names they get those of `defaultNames`.
 * @param {number} width
 * @param {number} height
 * @param {Box[]} boxes
 * @param {string[]} names
 * @returns {Layout}
 */
export function custom(width, height, boxes, names = []) {
  checkCanvas(width, height);
  return checked({ width, height, boxes, names: names.length ? names : defaultNames(boxes) });
}

/**
 * Divide a side into lengths that are multiples of `step`, so that with the gutters nothing is left over.
 * @returns {number[]}
 */
export function divide(length, count, gutter, step, what) {
  const room = length - gutter * (count - 1);
  const least = Math.max(step, SMALLEST_PANEL);
  if (room < count * least) {
    throw new LayoutError(
      `${count} ${what} with gutters of ${gutter} px do not fit into ${length} px; each needs at least ${least} px. ` +
        `Use fewer ${what}, narrower gutters or a larger canvas.`,
    );
  }
  if (room % step) {
    const fitting = nearestGutter(length, count, gutter, step);
    const advice = fitting === null || count === 1 ? "change the canvas" : `use a gutter of ${fitting} px`;
    throw new LayoutError(
      `${count} ${what} with gutters of ${gutter} px leave ${room} of ${length} px, which is not a multiple of ${step}; ` +
        `${advice}, or a smaller step.`,
    );
  }
  const units = room / step;
  const each = Math.floor(units / count);
  const extra = units - each * count; // spread over the first panels
  return Array.from({ length: count }, (_, index) => (each + (index < extra ? 1 : 0)) * step);
}

/**
 * Read boxes, one per line: `left, top, width, height`, optionally with `NAME:` in front.
 * @param {string} text
 * @returns {{boxes: Box[], names: string[]}}
 */
export function parseBoxes(text) {
  const boxes = [];
  const names = [];
  for (const [index, line] of text.split(/\r\n|\r|\n/).entries()) {
    if (!line.trim()) continue;
    const colon = line.lastIndexOf(":");
    const numbers = wholeNumbers(line.slice(colon + 1));
    if (numbers?.length !== 4) {
      throw new LayoutError(
        `Line ${index + 1} is ${quoted(line.trim())}; expected 'left, top, width, height' in pixels, ` +
          "optionally with 'NAME:' in front.",
      );
    }
    const [left, top, width, height] = numbers;
    boxes.push({ left, top, width, height });
    if (colon >= 0) names.push(bareName(line.slice(0, colon)));
  }
  if (names.length && names.length !== boxes.length) {
    throw new LayoutError(`${boxes.length} boxes have ${names.length} names; name all of them or none.`);
  }
  return { boxes, names };
}

/**
 * The inverse of `parseBoxes`.
 * @param {Box[]} boxes
 * @param {string[]} names  none, or one a box
 */
export function formatBoxes(boxes, names = []) {
  return boxes
    .map((box, index) => {
      const numbers = [box.left, box.top, box.width, box.height].join(", ");
      return names.length ? `${names[index]}: ${numbers}` : numbers;
    })
    .join("\n");
}

/** Panel names as the widget `names` has them. */
export function parseNames(text) {
  return text
    .split(",")
    .filter((name) => name.trim())
    .map(bareName);
}

/** Columns per row, e.g. `1, 2, 2`. */
export function parseCounts(text) {
  const counts = wholeNumbers(text);
  if (!counts?.length || counts.some((count) => count < 1)) {
    throw new LayoutError(
      `Columns per row are ${quoted(text)}; expected positive numbers such as '1, 2' for two rows.`,
    );
  }
  return counts;
}

/** The names that published captions use for such panels: LEFT/RIGHT, TOP/BOTTOM, TOP-LEFT…, else SCENE-n. */
export function defaultNames(boxes) {
  const tops = distinct(boxes.map((box) => box.top));
  const lefts = distinct(boxes.map((box) => box.left));
  if (boxes.length === 2 && tops.length === 1) {
    return boxes[0].left < boxes[1].left ? ["LEFT", "RIGHT"] : ["RIGHT", "LEFT"];
  }
  if (boxes.length === 2 && lefts.length === 1) {
    return boxes[0].top < boxes[1].top ? ["TOP", "BOTTOM"] : ["BOTTOM", "TOP"];
  }
  const corners = new Set(boxes.map((box) => `${box.top} ${box.left}`));
  if (boxes.length === 4 && tops.length === 2 && lefts.length === 2 && corners.size === 4) {
    return boxes.map(
      (box) => `${["TOP", "BOTTOM"][tops.indexOf(box.top)]}-${["LEFT", "RIGHT"][lefts.indexOf(box.left)]}`,
    );
  }
  return boxes.map((_, index) => `SCENE-${index + 1}`);
}

/** The multiple of 64 nearest to a side, at least 64. */
export function snapCanvas(side) {
  return Math.max(CANVAS_STEP, halfToEven(side / CANVAS_STEP) * CANVAS_STEP);
}

export const right = (box) => box.left + box.width;
export const bottom = (box) => box.top + box.height;

export function overlap(one, other) {
  return (
    one.left < right(other) && other.left < right(one) && one.top < bottom(other) && other.top < bottom(one)
  );
}

/**
 * The layout itself, where its parts fit together.
 * @param {Layout} layout
 * @returns {Layout}
 * @throws {LayoutError}
 */
export function checked(layout) {
  const { width, height, boxes, names } = layout;
  if (!boxes.length) throw new LayoutError("A layout needs at least one panel.");
  checkSize(width, height, boxes.length);
  if (names.length !== boxes.length) {
    throw new LayoutError(`Panels: ${boxes.length}, names: ${names.length}. Give one name per panel, separated by commas.`);
  }
  if (names.some((name) => !name.trim())) {
    throw new LayoutError(
      `Panel names are [${names.map(quoted).join(", ")}]; none may be empty. Name all panels, or none.`,
    );
  }
  const repeated = distinct(names.filter((name, index) => names.indexOf(name) !== index));
  if (repeated.length) {
    throw new LayoutError(`Panel names must differ; used more than once: ${repeated.join(", ")}.`);
  }
  for (const [index, box] of boxes.entries()) {
    if (box.width <= 0 || box.height <= 0) {
      throw new LayoutError(`Panel ${names[index]} is ${describe(box)}; width and height must be positive.`);
    }
    if (box.left < 0 || box.top < 0 || right(box) > width || bottom(box) > height) {
      throw new LayoutError(
        `Panel ${names[index]} is ${describe(box)}, which leaves the canvas of ${width}×${height}. ` +
          "Move or shrink the panel, or enlarge the canvas.",
      );
    }
  }
  for (let i = 0; i < boxes.length; i++) {
    for (let j = 0; j < i; j++) {
      if (overlap(boxes[i], boxes[j])) {
        throw new LayoutError(
          `Panels ${names[j]} (${describe(boxes[j])}) and ${names[i]} (${describe(boxes[i])}) overlap. ` +
            "Move one of them; panels may touch but not overlap.",
        );
      }
    }
  }
  return layout;
}

function checkSize(width, height, panels) {
  if (panels > MOST_PANELS) {
    throw new LayoutError(`The layout has ${panels} panels; at most ${MOST_PANELS} are possible. Remove panels.`);
  }
  for (const [side, length] of [["width", width], ["height", height]]) {
    if (length > LONGEST_SIDE) {
      throw new LayoutError(`The canvas ${side} is ${length}; at most ${LONGEST_SIDE} px are possible. Make it smaller.`);
    }
  }
  if (width * height > LARGEST_AREA) {
    throw new LayoutError(
      `The canvas of ${width}×${height} has ${(width * height).toLocaleString("en-US")} pixels; at most ` +
        `${LARGEST_AREA.toLocaleString("en-US")} are possible, as in 8192×8192. Make it smaller.`,
    );
  }
}

function checkCanvas(width, height) {
  for (const [side, length] of [["width", width], ["height", height]]) {
    if (length < CANVAS_STEP || length % CANVAS_STEP) {
      throw new LayoutError(
        `The canvas ${side} is ${length}; it must be a positive multiple of ${CANVAS_STEP}, ` +
          `for example ${snapCanvas(length)}.`,
      );
    }
  }
}

/** A row's columns for each row. */
function repeated(columns, rows) {
  if (!(rows >= 0 && rows <= LONGEST_SIDE)) {
    throw new LayoutError(`The layout has ${rows} panels; at most ${MOST_PANELS} are possible. Remove panels.`);
  }
  return Array(Math.trunc(rows)).fill(columns);
}

function nearestGutter(length, count, gutter, step) {
  const candidates = [];
  for (let other = Math.max(0, gutter - 64); other <= gutter + 64; other++) {
    if (modulo(length - other * (count - 1), step) === 0) candidates.push(other);
  }
  const distance = (other) => Math.abs(other - gutter);
  return candidates.length ? candidates.reduce((a, b) => (distance(b) < distance(a) ? b : a)) : null;
}

function starts(lengths, gutter) {
  let next = 0;
  return lengths.map((length) => {
    const start = next;
    next += length + gutter;
    return start;
  });
}

/** Numbers between commas and spaces; null if something else is among them. */
function wholeNumbers(text) {
  const parts = text.replaceAll(",", " ").split(/\s+/).filter(Boolean);
  return parts.every((part) => /^[+-]?\d+(_\d+)*$/.test(part)) ? parts.map((part) => Number(part.replaceAll("_", ""))) : null;
}

const bareName = (text) => text.trim().replace(/^[[\]]+|[[\]]+$/g, "");
const describe = (box) => `${box.width}×${box.height} at (${box.left}, ${box.top})`;
const modulo = (a, b) => ((a % b) + b) % b;

/** Sorted, each once. */
function distinct(values) {
  const numeric = typeof values[0] === "number";
  return [...new Set(values)].sort(numeric ? (a, b) => a - b : undefined);
}

/** Python's rounding, which the server uses. */
export function halfToEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** As Python's repr shows short texts. */
function quoted(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t");
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}
