/**
 * The sets that were made, as the server knows them; see nodes/server/set_routes.py.
 *
 * @typedef {object} Panel
 * @property {string} name
 * @property {string} marker
 * @property {[number, number, number, number]} box  left, top, width and height on the canvas
 * @property {string} text
 * @property {boolean} is_reference
 * @property {boolean} is_there  whether there is a picture of it
 *
 * @typedef {object} MadeSet
 * @property {string} id
 * @property {string} name  of its first file
 * @property {number} time  in seconds
 * @property {string} stamp  another one when its files have changed
 * @property {boolean} is_new  made since ComfyUI was started
 * @property {"canvas" | "panels" | "picture"} kind
 * @property {{filename: string, subfolder: string, type: string} | null} picture  of the whole canvas
 * @property {{width: number, height: number}} layout  the canvas that the panels' boxes are on
 * @property {Panel[]} panels
 * @property {string} caption
 * @property {[number, number][]} marks  start and end of each marker, in code points
 * @property {{name: string, title: string} | null} recipe
 * @property {string | null} seed
 * @property {{name: string, strength: number}[]} loras
 * @property {{mean: number, lowest: number, caption: number | null, measure: string}[]} scores
 * @property {object} wiring  for a repaint
 */

import { pieces } from "../caption.mjs";
import { addressOf } from "../outputs.mjs";
import { ROOT, getJson } from "../server.mjs";
import { fill } from "../words.mjs";

const PAGE = 24;
const PAUSE = 250; // milliseconds until the server is asked for what it has not read yet
const WIDTH = 320; // pixels of a card, about
const LOWEST = 72; // pixels; smaller panels are not recognised

export class SetList {
  #api;
  #onNews;
  #asked = 0;
  #timer = 0;
  /** @type {MadeSet[]} newest first */
  sets = [];
  text = "";
  total = 0;
  more = false;
  unread = 0;
  bare = 0;
  isKnown = false;
  isAnswering = true;

  /** @param {() => void} onNews  called whenever something may have changed */
  constructor(api, onNews) {
    this.#api = api;
    this.#onNews = onNews;
  }

  /** Ask for the newest sets, as many as are shown; where files are still unread, again until none is. */
  async look() {
    clearTimeout(this.#timer);
    const asked = ++this.#asked;
    const sets = [];
    let answer = null;
    do { // the server gives a limited number at once
      answer = await this.#page(sets.at(-1)?.id ?? "", Math.max(PAGE, this.sets.length - sets.length));
      if (asked !== this.#asked) return; // a later question has been asked meanwhile
      sets.push(...(answer?.sets ?? []));
    } while (answer?.more && sets.length < this.sets.length);
    if (answer) {
      this.sets = uniqueById(sets);
      this.#take(answer);
    }
    this.#onNews();
    if (this.unread > 0 && answer) this.#timer = setTimeout(() => void this.look(), PAUSE);
  }

  /** Ask for the page after the last set. */
  async lookFurther() {
    if (!this.more) return;
    const asked = ++this.#asked;
    const answer = await this.#page(this.sets.at(-1)?.id ?? "", PAGE);
    if (asked !== this.#asked || !answer) return;
    this.sets = uniqueById([...this.sets, ...answer.sets]);
    this.#take(answer);
    this.#onNews();
  }

  /** Ask for the newest sets that hold these words. */
  find(text) {
    if (text !== this.text) this.sets = [];
    this.text = text;
    return this.look();
  }

  /** Stop asking, and drop the answer to what was asked: nobody sees the sets. */
  rest() {
    clearTimeout(this.#timer);
    this.#asked++;
  }

  #take({ total, more, unread, bare }) {
    Object.assign(this, { total, more, unread, bare, isKnown: true });
  }

  async #page(after, limit) {
    const query = new URLSearchParams({ text: this.text, after, limit: String(limit) });
    try {
      const answer = await getJson(this.#api, `/sets?${query}`);
      this.isAnswering = true;
      return answer;
    } catch {
      this.isAnswering = false;
      return null;
    }
  }
}

/** Without those that came a second time, because a new set moved the pages. */
const uniqueById = (sets) => [...new Map(sets.map((made) => [made.id, made])).values()];

/** Where the small picture of a panel is. */
export const panelAddress = (api, made, index) =>
  api.apiURL(`${ROOT}/sets/${made.id}/panels/${index}?stamp=${made.stamp}`);

/** Where the whole picture is; null if only single panels were saved. */
export const pictureAddress = (api, made) => (made.picture ? addressOf(api, made.picture) : null);

/** What a panel is called: its marker as the caption has it, else its number. */
export const panelName = (made, index) => made.panels[index].marker || made.panels[index].name || `${index + 1}`;

/** What a set is called: its own task if it has one, else its file. */
export function titleOf(made, words) {
  if (made.kind === "picture") return words.single;
  const task = made.recipe && made.recipe.name !== "custom" ? made.recipe.title || made.recipe.name : "";
  return task || made.name.replace(/_+$/, "");
}

/** How many panels stand side by side, so that none is too low to be recognised, and the rows are about full. */
export function perRow(panels) {
  const flattest = Math.max(...panels.map(({ box: [, , width, height] }) => width / Math.max(1, height)));
  const most = Math.max(1, Math.min(panels.length, 4, Math.floor(WIDTH / (LOWEST * flattest))));
  return Math.ceil(panels.length / Math.ceil(panels.length / most));
}

/** How long ago, in words. */
export function timeAgo(time, now, locale) {
  const words = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
  const seconds = Math.max(0, now - time);
  if (seconds < 60) return words.format(-Math.round(seconds), "second");
  if (seconds < 3600) return words.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86_400) return words.format(-Math.round(seconds / 3600), "hour");
  return new Date(1000 * time).toLocaleDateString(locale, { dateStyle: "medium" });
}

/** A caption in pieces, its markers apart. */
export function captionPieces({ caption, marks }) {
  return pieces({ caption, marks, tokens: [] }).map(({ kind, text }) => ({ isMark: kind === "mark", text }));
}

/** What is known of a set, in short; each with more for the pointer. */
export function factsOf(made, words) {
  const loras = made.loras.map(({ name, strength }) => {
    const short = name.split(/[\\/]/).at(-1).replace(/\.safetensors$/i, "");
    return { kind: "lora", text: strength === 1 ? short : `${short} × ${strength}`, hint: name };
  });
  const scores = made.scores.flatMap(({ mean, lowest, caption, measure }) => [
    {
      kind: "score",
      text: fill(words.alike, { value: mean.toFixed(2) }),
      hint: fill(words.alikeHint, { lowest: lowest.toFixed(2), measure: measure ?? "" }),
    },
    ...(caption == null
      ? []
      : [{ kind: "score", text: fill(words.follows, { value: caption.toFixed(2) }), hint: words.followsHint }]),
  ]);
  return [...loras, ...scores];
}
