/**
 * The fields of a joint caption beside their cells, the caption as it will be sent, its tokens, and what is to be mended.
 *
 * @typedef {import("./caption.mjs").Answer} Answer
 *
 * @typedef {object} Shown
 * @property {object | null} recipe  as JSON; null where it is not known
 * @property {Record<string, string>} texts  by field: summary, panel_1 …
 * @property {Set<string>} linked  fields that get their text from another node
 * @property {boolean} isPlain  whether the node's plain fields are shown as well
 */

import { encoderName, isJoint, meter, pieces, rest } from "./caption.mjs";
import { make, place } from "./dom.mjs";
import { layoutFrom } from "./upstream.mjs";
import { fill } from "./words.mjs";

export const MOST_PANELS = 9;
const FIELD_HEIGHT = 46;
const OTHER_HEIGHT = 176; // the caption, its meters and its notes
const UNKNOWN_HEIGHT = 30;

export class CaptionEditor {
  #words;
  #on;
  #fields = make("div", "incontext-fields");
  #line = make("div", "incontext-line", [], { "data-capture-wheel": "true" });
  #meters = make("div", "incontext-meters");
  #notes = make("ul", "incontext-notes");
  #plain = make("button", "incontext-plain", [], { type: "button" });
  #areas = new Map();
  /** @type {Shown} */
  #shown = { recipe: null, texts: {}, linked: new Set(), isPlain: false };
  #made = "";
  #pasted = "";

  /**
   * @param {ReturnType<typeof import("./words.mjs").wordsOf>} words
   * @param {object} on
   * @param {(field: string, text: string) => void} on.input  a field was typed in
   * @param {(caption: string) => Promise<string>} on.paste  a whole caption was pasted; says why it does not fall into fields
   * @param {(isPlain: boolean) => void} on.plain
   */
  constructor(words, on) {
    this.#words = words;
    this.#on = on;
    this.#plain.textContent = words.plain;
    this.#plain.title = words.plainHint;
    this.#plain.addEventListener("click", () => on.plain(!this.#shown.isPlain));
    this.#line.title = words.caption;
    this.element = make("div", "incontext-lora incontext-caption widget-expands", [
      this.#fields,
      this.#line,
      make("div", "incontext-row", [this.#meters, this.#plain]),
      this.#notes,
    ]);
    for (const name of ["pointerdown", "pointermove", "pointerup"]) {
      this.element.addEventListener(name, (event) => event.stopPropagation()); // typing does not drag the node
    }
  }

  /** How high the editor must be, in pixels. */
  get minHeight() {
    return this.#shown.recipe ? FIELD_HEIGHT * (1 + panelCount(this.#shown.recipe)) + OTHER_HEIGHT : UNKNOWN_HEIGHT;
  }

  /** @param {Shown} shown */
  show(shown) {
    this.#shown = shown;
    const { recipe, texts, linked, isPlain } = shown;
    this.element.classList.toggle("incontext-unknown", !recipe);
    this.element.style.minHeight = `${this.minHeight}px`;
    this.#plain.setAttribute("aria-pressed", String(isPlain));
    this.#makeFields(recipe);
    for (const [name, area] of this.#areas) {
      const isLinked = linked.has(name);
      area.disabled = isLinked;
      area.placeholder = isLinked ? this.#words.connected : this.#placeholder(name, recipe);
      const text = isLinked ? "" : (texts[name] ?? "");
      if (area.value !== text) area.value = text;
    }
    if (!recipe) this.#say([this.#words.unknown], "incontext-note");
  }

  /** @param {Answer | {error: string} | null} answer */
  tell(answer) {
    const notes = this.#shown.linked.size ? [this.#words.notCounted] : [];
    if (this.#pasted) notes.unshift(this.#pasted);
    if (!answer || "error" in answer) {
      this.#line.replaceChildren();
      this.#meters.replaceChildren();
      this.#say([answer ? answer.error : this.#words.noAnswer, ...notes], "incontext-problem");
      return;
    }
    this.#line.replaceChildren(...pieces(answer).map((piece) => this.#piece(piece)));
    this.#meters.replaceChildren(...answer.tokens.map(meterOf));
    const over = answer.tokens.filter((entry) => entry.cut !== null);
    const tooLong = over.map(({ encoder, limit, cut }) =>
      fill(this.#words.tooLong, { encoder: encoderName(encoder), limit, rest: rest(answer.caption, cut) }),
    );
    this.#say([...tooLong, ...answer.problems, ...notes], "incontext-problem");
  }

  #say(sentences, className) {
    this.#notes.replaceChildren(...sentences.map((sentence) => make("li", className, [sentence])));
  }

  #makeFields(recipe) {
    const key = recipe ? JSON.stringify([recipe.markers, recipe.layout]) : "";
    if (key === this.#made) return;
    this.#made = key;
    this.#areas.clear();
    if (!recipe) {
      this.#fields.replaceChildren();
      this.tell({ caption: "", marks: [], problems: [], tokens: [] });
      return;
    }
    const layout = layoutFrom(recipe);
    const fields = [this.#field("summary", this.#words.summary, null)];
    for (let index = 0; index < panelCount(recipe); index++) {
      fields.push(this.#field(`panel_${index + 1}`, recipe.markers[index], cellMap(layout, index)));
    }
    this.#fields.replaceChildren(...fields);
  }

  #field(name, title, picture) {
    const area = make("textarea", "", [], { rows: "2", spellcheck: "false", "data-capture-wheel": "true" });
    area.setAttribute("aria-label", title);
    area.addEventListener("input", () => {
      this.#pasted = "";
      this.#on.input(name, area.value);
    });
    area.addEventListener("paste", (event) => this.#paste(event, area));
    area.addEventListener("wheel", (event) => {
      if (area.scrollHeight > area.clientHeight) event.stopPropagation();
    });
    this.#areas.set(name, area);
    const label = make("span", "incontext-title", [...(picture ? [picture] : []), make("span", "incontext-marker", [title])]);
    label.title = title;
    return make("label", "incontext-field", [label, area]);
  }

  /** A whole caption falls into its fields; what does not is pasted as it is. */
  async #paste(event, area) {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!this.#shown.recipe || !isJoint(text, this.#shown.recipe.markers)) return;
    event.preventDefault();
    const reason = await this.#on.paste(text);
    if (!reason) return;
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
    this.#pasted = fill(this.#words.pasted, { reason });
  }

  #placeholder(name, recipe) {
    return name === "summary" ? recipe?.opening || this.#words.summary : "";
  }

  #piece(piece) {
    if (piece.kind === "text") return piece.text;
    if (piece.kind === "mark") return make("mark", "", [piece.text]);
    const title = fill(this.#words.limitHere, piece);
    return make("span", "incontext-limit", [String(piece.limit)], { title });
  }
}

function meterOf(entry) {
  const { filled, limit, isOver } = meter(entry);
  const bar = make("span", "incontext-bar", [make("span", "incontext-filled")]);
  bar.firstChild.style.width = `${100 * filled}%`;
  if (limit !== null) {
    bar.append(make("span", "incontext-tick"));
    bar.lastChild.style.left = `${100 * limit}%`;
  }
  const count = entry.limit === null ? String(entry.count) : `${entry.count} / ${entry.limit}`;
  const parts = [make("span", "", [encoderName(entry.encoder)]), bar, make("span", "incontext-count", [count])];
  return make("div", `incontext-meter ${isOver ? "incontext-over" : ""}`, parts);
}

/** A small map of the canvas with one cell filled. */
function cellMap(layout, index) {
  const cells = layout.boxes.map((box, number) => {
    const cell = make("span", number === index ? "incontext-here" : "");
    place(cell, box, layout);
    return cell;
  });
  const map = make("span", "incontext-map", cells);
  map.style.aspectRatio = String(layout.width / layout.height);
  map.style[layout.width > layout.height ? "width" : "height"] = "26px";
  return map;
}

const panelCount = (recipe) => Math.min(MOST_PANELS, recipe.layout.panels.length);
