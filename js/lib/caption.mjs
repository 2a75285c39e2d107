/**
 * What is shown of a joint caption. All functions are pure. The server counts places in code points, while JavaScript's strings are indexed by
 * UTF-16 units: an emoji is one of those and two of these.
 *
 * @typedef {object} Answer  of the server, see nodes/server/routes.py
 * @property {string} caption
 * @property {[number, number][]} marks  start and end of each, in code points
 * @property {string[]} problems
 * @property {{encoder: string, count: number, limit: number | null, cut: number | null}[]} tokens  `cut` in code points
 */

const ENCODERS = { clip_l: "CLIP-L", clip_g: "CLIP-G", t5xxl: "T5" };
const SHORT = 24; // characters as people count them

/** An encoder's name for people. */
export const encoderName = (encoder) => ENCODERS[encoder] ?? encoder;

/**
 * A caption in pieces: plain text, marks, and the places where an encoder's limit falls.
 * @param {Answer} answer
 * @returns {({kind: "text" | "mark", text: string} | {kind: "limit", encoder: string, limit: number})[]}
 */
export function pieces({ caption, marks, tokens }) {
  const letters = [...caption];
  const limits = tokens.filter((entry) => entry.cut !== null).sort((a, b) => a.cut - b.cut);
  const edges = new Set([0, letters.length, ...marks.flat(), ...limits.map((entry) => entry.cut)]);
  const sorted = [...edges].sort((a, b) => a - b);
  const found = [];
  for (const [index, start] of sorted.slice(0, -1).entries()) {
    const end = sorted[index + 1];
    for (const { encoder, limit } of limits.filter((entry) => entry.cut === start)) {
      found.push({ kind: "limit", encoder: encoderName(encoder), limit });
    }
    const isMark = marks.some(([from, to]) => from <= start && end <= to);
    found.push({ kind: isMark ? "mark" : "text", text: letters.slice(start, end).join("") });
  }
  return found;
}

/**
 * How a meter is drawn: how far it is filled, and where its limit stands, both from 0 to 1.
 * @param {{count: number, limit: number | null}} entry
 */
export function meter({ count, limit }) {
  if (limit === null) return { filled: 1, limit: null, isOver: false };
  const full = Math.max(limit * 1.25, count);
  return { filled: count / full, limit: limit / full, isOver: count > limit };
}

/** The words after a limit, shortened. */
export const rest = (caption, cut) => shortened([...caption].slice(cut).join("").trim());

/** The beginning of a text; an emoji that is joined from several stays whole. */
export function shortened(text) {
  const seen = [...new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(text)].map(({ segment }) => segment);
  return seen.length <= SHORT ? text : `${seen.slice(0, SHORT - 1).join("").trimEnd()}…`;
}

/**
 * Whether a text is a whole joint caption: it holds every marker, and there are at least two.
 * @param {string} text
 * @param {string[]} markers
 */
export function isJoint(text, markers) {
  const plain = text.replace(/\\([()])/g, "$1");
  return markers.length > 1 && markers.every((marker) => plain.includes(marker.replace(/\\([()])/g, "$1")));
}

/** Widgets of Joint Caption that hold one panel's text each; those of later panels are lines of `MORE`. */
export const PANEL_WIDGETS = Array.from({ length: 9 }, (_, index) => `panel_${index + 1}`);
export const MORE = "more_panels";
const LINE_BREAK = /\r\n|\r|\n/;

/** The widget that holds a field's text. */
export const widgetOf = (field) => (field === "summary" || PANEL_WIDGETS.includes(field) ? field : MORE);

/**
 * The texts of all panels, as the widgets hold them.
 * @param {Record<string, string>} values  by widget
 */
export function panelTexts(values) {
  const more = values[MORE] ? values[MORE].split(LINE_BREAK) : [];
  return [...PANEL_WIDGETS.map((name) => values[name] ?? ""), ...more];
}

/**
 * What writing texts into fields changes in the widgets.
 * @param {Record<string, string>} values  by widget
 * @param {Record<string, string>} texts  by field: summary, panel_1 … panel_256
 * @returns {Record<string, string>} by widget
 */
export function writtenTexts(values, texts) {
  const changes = {};
  const more = panelTexts(values).slice(PANEL_WIDGETS.length);
  for (const [field, text] of Object.entries(texts)) {
    if (widgetOf(field) !== MORE) {
      changes[field] = text;
      continue;
    }
    const line = numberOf(field) - PANEL_WIDGETS.length - 1;
    while (more.length <= line) more.push("");
    more[line] = text.split(LINE_BREAK).join(" ");
    changes[MORE] = more.join("\n");
  }
  return changes;
}

/**
 * The wildcards of a text, by the rules of incontext/captions/wildcards.py.
 * @param {string} text
 * @returns {{isDrawn: boolean, unclosed: string}} whether it holds a wildcard such as {red|blue}, and the text from the brace
 *   of one that is never closed; empty if there is none
 */
export function wildcardsIn(text) {
  const open = [];
  let isDrawn = false;
  for (const { 0: mark, index } of text.matchAll(/\\[{}|]|[{}|]/g)) {
    if (mark === "{") open.push({ index, bars: 0 });
    else if (mark === "|" && open.length) open.at(-1).bars += 1;
    else if (mark === "}" && open.length) isDrawn = open.pop().bars > 0 || isDrawn;
  }
  const unclosed = open.find(({ bars }) => bars > 0);
  return { isDrawn, unclosed: unclosed ? text.slice(unclosed.index) : "" };
}

const numberOf = (field) => Number(field.slice("panel_".length));
