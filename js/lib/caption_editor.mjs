/**
 * The fields of a joint caption beside their cells, the caption as it will be sent, its tokens, and what to fix. Shows what it
 * is given and reports what is typed; it keeps no text of its own.
 *
 * @typedef {import("./caption.mjs").Answer} Answer
 *
 * @typedef {object} Shown
 * @property {object | null} recipe  as JSON; null if it is not known
 * @property {string} notice  why the recipe is not what will be sent; empty if it is
 * @property {string[]} texts  of the summary, then of each panel; those of panels that the recipe does not have are kept
 * @property {Set<string>} linked  widgets that get their text from another node
 * @property {boolean} isPlain  whether the node's plain fields are shown as well
 */

import { encoderName, isJoint, meter, pieces, rest, shortened, widgetOf, wildcardsIn } from "./caption.mjs";
import { make, place } from "./dom.mjs";
import { layoutFrom } from "./upstream.mjs";
import { fill } from "./words.mjs";

const FIELD_HEIGHT = 46;
const MOST_ROWS = 10; // fields that are in view without scrolling
const MOST_CELLS = 16; // in a field's small map; of more cells it shows only the panel's own
const OTHER_HEIGHT = 176; // the caption, its meters and its notes
const UNKNOWN_HEIGHT = 30;

export class CaptionEditor {
  #words;
  #on;
  #fields = make("div", "incontext-fields", [], { "data-capture-wheel": "true" });
  #line = make("div", "incontext-line", [], { "data-capture-wheel": "true" });
  #meters = make("div", "incontext-meters");
  #notes = make("ul", "incontext-notes");
  #plain = make("button", "incontext-plain", [], { type: "button" });
  /** @type {Map<string, HTMLTextAreaElement>} by field, in order */
  #areas = new Map();
  /** @type {WeakMap<HTMLTextAreaElement, string>} what the last step of undo left in a field */
  #committed = new WeakMap();
  /** @type {WeakMap<HTMLTextAreaElement, string>} what undo took out of a field, until something else is typed there */
  #undone = new WeakMap();
  /** @type {Shown} */
  #shown = { recipe: null, notice: "", texts: [], linked: new Set(), isPlain: false };
  /** @type {Answer | {error: string} | null | undefined} the last answer; undefined if there is none yet */
  #answer;
  #made = "";
  #pasted = "";

  /**
   * @param {ReturnType<typeof import("./words.mjs").wordsOf>} words
   * @param {object} on
   * @param {(field: string, text: string) => void} on.input  a field was typed in
   * @param {() => void} on.commit  a field that was typed in was left
   * @param {(isRedo: boolean) => void} on.undo  undo was asked for in a field that has nothing of its own to undo
   * @param {(caption: string) => Promise<string>} on.paste  a whole caption was pasted; says why it cannot be split
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
    const { recipe } = this.#shown;
    return recipe ? FIELD_HEIGHT * Math.min(MOST_ROWS, 1 + recipe.markers.length) + OTHER_HEIGHT : UNKNOWN_HEIGHT;
  }

  /** How far below the editor's upper edge the middle of a field is, in pixels; null if there is no such field. */
  middleOf(name) {
    const field = this.#areas.get(name)?.closest(".incontext-field");
    if (!field) return null;
    return field.offsetTop - this.element.offsetTop + field.offsetHeight / 2 - this.#fields.scrollTop;
  }

  /** @param {Shown} shown */
  show(shown) {
    this.#shown = shown;
    const { recipe, texts, linked, isPlain } = shown;
    this.element.classList.toggle("incontext-unknown", !recipe);
    this.element.style.minHeight = `${this.minHeight}px`;
    this.#plain.setAttribute("aria-pressed", String(isPlain));
    this.#makeFields(recipe);
    for (const [index, [name, area]] of [...this.#areas].entries()) {
      const isLinked = linked.has(widgetOf(name));
      area.disabled = isLinked;
      area.placeholder = isLinked ? this.#words.connected : this.#placeholder(name, recipe);
      const text = isLinked ? "" : (texts[index] ?? "");
      area.nextElementSibling.textContent = this.#hint(text);
      if (area.value === text) continue;
      area.value = text;
      this.#committed.set(area, text);
    }
    if (recipe) this.#tellAgain();
    else this.#say([this.#words.unknown], "incontext-note");
  }

  /** @param {Answer | {error: string} | null} answer */
  tell(answer) {
    this.#answer = answer;
    this.#tellAgain();
  }

  #tellAgain() {
    const answer = this.#answer;
    const notes = this.#shown.linked.size ? [this.#words.notCounted] : [];
    if (this.#shown.notice) notes.unshift(this.#shown.notice);
    if (this.#pasted) notes.unshift(this.#pasted);
    if (!answer || "error" in answer) {
      this.#line.replaceChildren();
      this.#meters.replaceChildren();
      const said = answer === undefined ? [] : [answer ? answer.error : this.#words.noAnswer];
      this.#say([...said, ...notes], "incontext-problem");
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
      return;
    }
    const layout = layoutFrom(recipe);
    const fields = [this.#field("summary", this.#words.summary, null)];
    recipe.markers.forEach((marker, index) => {
      fields.push(this.#field(`panel_${index + 1}`, marker, cellMap(layout, index)));
    });
    this.#fields.replaceChildren(...fields);
  }

  #field(name, title, picture) {
    const area = make("textarea", "", [], { rows: "2", spellcheck: "false", "data-capture-wheel": "true" });
    area.setAttribute("aria-label", title);
    area.dataset.field = name;
    // an undo over the canvas also reaches the browser, which would apply it to the field that was typed in last
    area.addEventListener("beforeinput", (event) => {
      if (event.inputType.startsWith("history") && document.activeElement !== area) event.preventDefault();
    });
    area.addEventListener("input", () => {
      this.#pasted = "";
      this.#undone.delete(area);
      this.#on.input(name, area.value);
    });
    area.addEventListener("blur", () => this.#commit(area));
    area.addEventListener("keydown", (event) => this.#undo(event, area));
    area.addEventListener("mouseup", (event) => event.stopPropagation()); // else ComfyUI would end the undo step at every click
    area.addEventListener("paste", (event) => this.#paste(event, area));
    area.addEventListener("wheel", (event) => {
      if (area.scrollHeight > area.clientHeight) event.stopPropagation();
    });
    this.#areas.set(name, area);
    this.#committed.set(area, "");
    const label = make("span", "incontext-title", [...(picture ? [picture] : []), make("span", "incontext-marker", [title])]);
    label.title = title;
    const hint = make("span", "incontext-hint", [], { role: "status" });
    return make("label", "incontext-field", [label, make("span", "incontext-entry", [area, hint])]);
  }

  /** What was typed becomes a step of undo; a field also loses the cursor when its node is taken away. */
  #commit(area) {
    if (area.value === this.#committed.get(area)) return;
    this.#committed.set(area, area.value);
    this.#undone.delete(area);
    this.#on.commit();
  }

  /** A field takes back all that was typed since it was entered; before that, undo is that of the workflow. */
  #undo(event, area) {
    const key = event.key.toLowerCase();
    if (!(event.ctrlKey || event.metaKey) || event.altKey || !["z", "y"].includes(key)) return;
    event.preventDefault(); // the browser's own history has a step per letter, since typing writes to the node
    const isRedo = key === "y" || event.shiftKey;
    const committed = this.#committed.get(area);
    if (!isRedo && area.value !== committed) {
      this.#undone.set(area, area.value);
      this.#type(area, committed);
    } else if (isRedo && this.#undone.has(area)) {
      this.#type(area, this.#undone.get(area));
      this.#undone.delete(area);
    } else {
      this.#on.undo(isRedo);
    }
  }

  #type(area, text) {
    area.value = text;
    this.#on.input(area.dataset.field, text);
  }

  /** A whole caption is split into its fields; one that cannot be split is pasted as it is. */
  async #paste(event, area) {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!this.#shown.recipe || !isJoint(text, this.#shown.recipe.markers)) return;
    event.preventDefault();
    const reason = await this.#on.paste(text);
    if (!reason) return;
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
    this.#pasted = fill(this.#words.pasted, { reason });
    this.#commit(area);
  }

  #placeholder(name, recipe) {
    return name === "summary" ? recipe?.opening || this.#words.summary : "";
  }

  /** What to say below a field about its text, which is sent as it is. */
  #hint(text) {
    const { unclosed } = wildcardsIn(text);
    return unclosed ? fill(this.#words.unclosed, { text: shortened(unclosed) }) : "";
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
  const drawn = layout.boxes.length > MOST_CELLS ? [layout.boxes[index]] : layout.boxes;
  const cells = drawn.map((box) => {
    const cell = make("span", box === layout.boxes[index] ? "incontext-here" : "");
    place(cell, box, layout);
    return cell;
  });
  const map = make("span", "incontext-map", cells);
  map.style.aspectRatio = String(layout.width / layout.height);
  map.style[layout.width > layout.height ? "width" : "height"] = "26px";
  return map;
}
