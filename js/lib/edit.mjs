/**
 * What dragging does to a layout. All functions are pure: they return what is changed.
 *
 * @typedef {import("./layout.mjs").LayoutValues} LayoutValues
 * @typedef {import("./layout.mjs").Layout} Layout
 * @typedef {import("./layout.mjs").Box} Box
 *
 * @typedef {object} Border  a straight line between panels, or the right or lower edge of the canvas
 * @property {"x"|"y"} axis  along which it can be dragged
 * @property {number} position  middle of the gutter, in pixels of the canvas
 * @property {number} gap  width of the gutter
 * @property {number} from  where the line begins, on the other axis
 * @property {number} to  where it ends
 * @property {number[]} before  panels that end there
 * @property {number[]} after  panels that begin there; none for an edge of the canvas
 */

import {
  CANVAS_STEP,
  LayoutError,
  SMALLEST_PANEL,
  checked,
  defaultNames,
  formatBoxes,
  layoutOf,
  parseNames,
  snapCanvas,
} from "./layout.mjs";

const AXES = {
  x: { start: "left", size: "width", otherStart: "top", otherSize: "height" },
  y: { start: "top", size: "height", otherStart: "left", otherSize: "width" },
};
/** Kinds that divide the canvas evenly, the simplest first. */
const EVEN_KINDS = ["rows", "columns", "grid", "nested rows"];
const WIDEST_GUTTER = 512;
const LARGEST_CANVAS = 16384;

/**
 * What dragging a border writes into the widgets of Panel Layout.
 * @param {LayoutValues} values
 * @param {Border} border
 * @param {number} delta  in pixels of the canvas
 * @param {boolean} gutter  open or close the gutter, rather than move it
 * @returns {Partial<LayoutValues>}
 */
export function dragBorder(values, border, delta, gutter = false) {
  const layout = layoutOf(values);
  const step = Number(values.panel_step);
  const { size } = AXES[border.axis];
  const isEdge = !border.after.length;
  if (values.kind !== "boxes" && isEdge) return { [size]: moveEdge(values, size, delta) };
  if (values.kind !== "boxes" && gutter) {
    const fitting = fittingGutter((other) => layoutOf({ ...values, gutter: other }), border.gap + delta);
    return fitting === null ? {} : { gutter: fitting };
  }
  const move = gutter && !isEdge ? moveGap : moveBorder;
  const moved = move(layout, border, delta, step);
  return JSON.stringify(moved) === JSON.stringify(layout) ? {} : asSimplest(values, moved);
}

/**
 * What dropping one panel on another writes into the widgets of Panel Layout.
 * @param {LayoutValues} values
 * @param {number} one
 * @param {number} other
 * @returns {Partial<LayoutValues>}
 */
export function dropPanel(values, one, other) {
  return one === other ? {} : asSimplest(values, swapPanels(layoutOf(values), one, other));
}

/**
 * The widgets that describe a layout. If its present or former kind, with the other widgets as they are, makes exactly this
 * layout, it keeps that kind, so that dragging away and back changes nothing. Otherwise it becomes boxes: only they have free sizes.
 * @param {LayoutValues} values
 * @param {Layout} layout
 * @returns {Partial<LayoutValues>}
 */
function asSimplest(values, layout) {
  const { width, height } = layout;
  const kind = EVEN_KINDS.find((each) => isMadeBy({ ...values, kind: each, width, height }, layout));
  return differing(values, kind ? { kind, width, height } : asBoxes(values, layout));
}

/** Whether these widgets make just this layout, names included. */
function isMadeBy(values, layout) {
  try {
    return JSON.stringify(layoutOf(values)) === JSON.stringify(layout);
  } catch (error) {
    if (error instanceof LayoutError) return false;
    throw error;
  }
}

/** A layout as boxes. Names that would not come by themselves are written. */
function asBoxes(values, layout) {
  const named = parseNames(values.names).length > 0 || hasDefaultNames(layout);
  const boxes = formatBoxes(layout.boxes, named ? [] : layout.names);
  return { kind: "boxes", boxes, width: layout.width, height: layout.height };
}

const differing = (values, wanted) => Object.fromEntries(Object.entries(wanted).filter(([name, value]) => values[name] !== value));

/** The nearest side of the canvas, a multiple of 64, at which the layout can be. */
function moveEdge(values, size, delta) {
  const wanted = snapCanvas(values[size] + delta);
  for (let distance = 0; distance <= LARGEST_CANVAS; distance += CANVAS_STEP) {
    for (const side of [wanted - distance, wanted + distance]) {
      if (side < CANVAS_STEP || side > LARGEST_CANVAS) continue;
      try {
        layoutOf({ ...values, [size]: side });
        return side;
      } catch {
        // does not divide evenly, or is too small: try the next one
      }
    }
  }
  return values[size];
}

/**
 * Everything that can be dragged. Borders in one line with nothing between them are one, as in a grid, unless `apart`.
 * @param {Layout} layout
 * @param {boolean} apart
 * @returns {Border[]}
 */
export function borders(layout, apart = false) {
  return ["x", "y"].flatMap((axis) => {
    const inner = innerBorders(layout, axis);
    return [...(apart ? inner : inLine(layout, inner, axis)), canvasEdge(layout, axis)];
  });
}

/**
 * Move a border: the panels on one side grow by what those on the other side lose. Panel sides stay multiples of `step`,
 * and no panel becomes smaller than that or 16 px.
 * @param {Layout} layout
 * @param {Border} border
 * @param {number} delta  in pixels of the canvas
 * @param {number} step
 * @returns {Layout}
 */
export function moveBorder(layout, border, delta, step) {
  if (!border.after.length) return resizeCanvas(layout, border.axis, delta, border.before, step);
  const { start, size } = AXES[border.axis];
  const least = leastSide(step);
  const lowest = Math.max(...border.before.map((index) => least - layout.boxes[index][size]));
  const highest = Math.min(...border.after.map((index) => layout.boxes[index][size] - least));
  const moved = within(snapped(layout.boxes[border.before[0]][size], delta, step), lowest, highest, step);
  return withBoxes(layout, (box, index) => {
    if (border.before.includes(index)) return { ...box, [size]: box[size] + moved };
    if (border.after.includes(index)) return { ...box, [start]: box[start] + moved, [size]: box[size] - moved };
    return box;
  });
}

/**
 * Open or close one gutter: the panels after it move.
 * @param {Layout} layout
 * @param {Border} border
 * @param {number} delta
 * @param {number} step
 * @returns {Layout}
 */
export function moveGap(layout, border, delta, step) {
  const { start, size } = AXES[border.axis];
  const least = leastSide(step);
  const highest = Math.min(...border.after.map((index) => layout.boxes[index][size] - least));
  const moved = within(Math.round(delta / step) * step, -border.gap, highest, step);
  return withBoxes(layout, (box, index) =>
    border.after.includes(index) ? { ...box, [start]: box[start] + moved, [size]: box[size] - moved } : box,
  );
}

/**
 * The gutter nearest to the wanted one with which a layout can be made.
 * @param {(gutter: number) => unknown} make  throws where it cannot
 * @param {number} wanted
 * @returns {number | null}
 */
export function fittingGutter(make, wanted) {
  const target = Math.min(WIDEST_GUTTER, Math.max(0, Math.round(wanted)));
  for (let distance = 0; distance <= WIDEST_GUTTER; distance++) {
    for (const gutter of [target - distance, target + distance]) {
      if (gutter < 0 || gutter > WIDEST_GUTTER) continue;
      try {
        make(gutter);
        return gutter;
      } catch {
        // does not divide evenly: try the next one
      }
    }
  }
  return null;
}

/**
 * Swap two panels. Names that were written stay with their number; default names follow the place.
 * @param {Layout} layout
 * @param {number} one
 * @param {number} other
 * @returns {Layout}
 */
export function swapPanels(layout, one, other) {
  const boxes = [...layout.boxes];
  [boxes[one], boxes[other]] = [boxes[other], boxes[one]];
  return checked({ ...layout, boxes, names: hasDefaultNames(layout) ? defaultNames(boxes) : layout.names });
}

/** Whether the panels are called as such panels are by default. */
export function hasDefaultNames(layout) {
  return defaultNames(layout.boxes).every((name, index) => name === layout.names[index]);
}

/** The panel under a point of the canvas, or -1. */
export function panelAt(layout, x, y) {
  return layout.boxes.findIndex(
    (box) => x >= box.left && x < box.left + box.width && y >= box.top && y < box.top + box.height,
  );
}

/** @returns {Border[]} */
function innerBorders(layout, axis) {
  const { start, size, otherStart, otherSize } = AXES[axis];
  const ends = (box) => box[start] + box[size];
  const found = [];
  for (const [index, box] of layout.boxes.entries()) {
    // the nearest panels behind this one that lie beside it
    const behind = layout.boxes
      .map((other, number) => ({ other, number }))
      .filter(({ other }) => other[start] >= ends(box) && overlapAlong(box, other, otherStart, otherSize));
    const next = Math.min(...behind.map(({ other }) => other[start]));
    for (const { other, number } of behind) {
      if (other[start] === next) found.push({ end: ends(box), next, before: index, after: number });
    }
  }
  const lines = [];
  for (const pair of found) {
    // pairs at the same place that share a panel are one line
    const joined = lines.filter(
      (line) =>
        line.end === pair.end &&
        line.next === pair.next &&
        (line.before.has(pair.before) || line.after.has(pair.after)),
    );
    const line = { end: pair.end, next: pair.next, before: new Set([pair.before]), after: new Set([pair.after]) };
    for (const part of joined) {
      part.before.forEach((index) => line.before.add(index));
      part.after.forEach((index) => line.after.add(index));
      lines.splice(lines.indexOf(part), 1);
    }
    lines.push(line);
  }
  return lines.map(({ end, next, before, after }) => {
    const sides = [...before, ...after].map((index) => layout.boxes[index]);
    return {
      axis,
      position: (end + next) / 2,
      gap: next - end,
      from: Math.min(...sides.map((box) => box[otherStart])),
      to: Math.max(...sides.map((box) => box[otherStart] + box[otherSize])),
      before: [...before].sort((a, b) => a - b),
      after: [...after].sort((a, b) => a - b),
    };
  });
}

/** @returns {Border[]} */
function inLine(layout, lines, axis) {
  const { start, size, otherStart, otherSize } = AXES[axis];
  const sorted = [...lines].sort((a, b) => a.position - b.position || a.gap - b.gap || a.from - b.from);
  const joined = [];
  for (const line of sorted) {
    const last = joined.at(-1);
    const between = (box) =>
      box[start] < line.position &&
      box[start] + box[size] > line.position &&
      box[otherStart] < line.from &&
      box[otherStart] + box[otherSize] > last.to;
    if (last && last.position === line.position && last.gap === line.gap && !layout.boxes.some(between)) {
      joined[joined.length - 1] = {
        ...last,
        to: Math.max(last.to, line.to),
        before: [...last.before, ...line.before].sort((a, b) => a - b),
        after: [...last.after, ...line.after].sort((a, b) => a - b),
      };
    } else {
      joined.push(line);
    }
  }
  return joined;
}

/** @returns {Border} */
function canvasEdge(layout, axis) {
  const { start, size, otherSize } = AXES[axis];
  const length = layout[size];
  const before = layout.boxes.flatMap((box, index) => (box[start] + box[size] === length ? [index] : []));
  return { axis, position: length, gap: 0, from: 0, to: layout[otherSize], before, after: [] };
}

function resizeCanvas(layout, axis, delta, touching, step) {
  const { start, size } = AXES[axis];
  const others = layout.boxes.filter((_, index) => !touching.includes(index));
  const needed = Math.max(
    0,
    ...others.map((box) => box[start] + box[size]),
    ...touching.map((index) => layout.boxes[index][start] + leastSide(step)),
  );
  const lowest = Math.ceil(needed / CANVAS_STEP) * CANVAS_STEP;
  const length = Math.min(LARGEST_CANVAS, Math.max(lowest, snapCanvas(layout[size] + delta)));
  const grown = length - layout[size];
  return checked({
    ...withBoxes(layout, (box, index) => (touching.includes(index) ? { ...box, [size]: box[size] + grown } : box)),
    [size]: length,
  });
}

function overlapAlong(one, other, start, size) {
  return one[start] < other[start] + other[size] && other[start] < one[start] + one[size];
}

const leastSide = (step) => Math.ceil(SMALLEST_PANEL / step) * step;

/** A delta that makes the side a multiple of the step. */
const snapped = (side, delta, step) => Math.round((side + delta) / step) * step - side;

/** A delta between two bounds, still in steps from where it is. */
function within(delta, lowest, highest, step) {
  if (lowest > highest) return 0;
  if (delta < lowest) return delta + Math.ceil((lowest - delta) / step) * step;
  if (delta > highest) return delta - Math.ceil((delta - highest) / step) * step;
  return delta;
}

const withBoxes = (layout, change) => ({ ...layout, boxes: layout.boxes.map(change) });
