/** The tab: a search, the dataset that sets are added to, and the sets. */

import { make } from "../dom.mjs";
import { getJson } from "../server.mjs";
import { fill } from "../words.mjs";
import { setCard } from "./card.mjs";
import { SetList } from "./sets.mjs";

const TYPING = 300; // milliseconds without typing before the server is asked
const SETTLING = 300; // milliseconds after news, so that what comes together is asked for once
const LONGEST = "400"; // characters of a search, which is sent in an address
const KEPT = "incontext-lora.dataset"; // what the browser remembers

export class Gallery {
  #api;
  #page;
  #actions;
  #timer = 0;
  /** @type {Map<string, HTMLElement>} id and stamp → card */
  #cards = new Map();
  /** @type {Map<string, string>} id → the folder that the set was added to */
  #added = new Map();

  /**
   * @param {object} api
   * @param {{words: object, locale: string}} page
   * @param {Omit<import("./card.mjs").Actions, "add"> & {add: (made: object, folder: string) => Promise<object>, tell: (text: string, isProblem?: boolean) => void}} actions
   */
  constructor(api, page, actions) {
    this.#api = api;
    this.#page = page;
    this.#actions = { ...actions, add: (made) => this.#add(made, actions) };
    this.list = new SetList(api, () => this.#draw());
    const { words } = page;
    this.search = make("input", "incontext-search", [], { type: "search", maxlength: LONGEST, placeholder: words.search, "aria-label": words.search });
    this.search.addEventListener("input", () => this.#soon(TYPING, () => this.list.find(this.search.value)));
    const again = make("button", "incontext-button", [make("i", "pi pi-sync")], { type: "button", title: words.refresh, "aria-label": words.refresh });
    again.addEventListener("click", () => this.look());
    this.folders = make("datalist", "", [], { id: "incontext-lora-datasets" });
    this.dataset = make("input", "incontext-dataset-name", [], { list: this.folders.id, spellcheck: "false", title: words.datasetHint, "aria-label": words.dataset });
    this.dataset.value = remembered();
    this.dataset.addEventListener("change", () => remember(this.dataset.value.trim()));
    const label = make("label", "incontext-for-dataset", [make("span", "", [words.dataset]), this.dataset, this.folders], { title: words.datasetHint });
    this.status = make("p", "incontext-status incontext-note", [], { "aria-live": "polite" });
    this.cards = make("div", "incontext-sets");
    this.end = make("button", "incontext-button incontext-more", [words.more], { type: "button" });
    this.end.addEventListener("click", () => this.list.lookFurther());
    this.notes = make("p", "incontext-note incontext-bare");
    const bar = make("div", "incontext-bar", [make("div", "incontext-line", [this.search, again]), label]);
    const scroll = make("div", "incontext-scroll", [this.status, this.cards, this.end, this.notes]);
    this.element = make("section", "incontext-lora incontext-gallery", [bar, scroll]);
    for (const element of [this.search, this.dataset]) element.addEventListener("keydown", (event) => event.stopPropagation());
    new IntersectionObserver(([entry]) => entry.isIntersecting && void this.list.lookFurther(), { root: scroll, rootMargin: "400px" }).observe(this.end);
    this.#draw();
  }

  /** Whether somebody can see it. */
  get isSeen() {
    return this.element.isConnected && this.element.offsetParent !== null;
  }

  /** Something was made: look again if the gallery is open. */
  news() {
    if (this.isSeen) this.#soon(SETTLING, () => this.list.find(this.search.value));
  }

  look() {
    void this.#listFolders();
    return this.list.find(this.search.value); // what was typed as the tab was closed has not been asked for
  }

  /** Nobody looks any more. */
  rest() {
    clearTimeout(this.#timer);
    this.list.rest();
  }

  #soon(pause, act) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, pause);
  }

  async #add(made, actions) {
    const folder = this.dataset.value.trim();
    if (!folder) {
      this.dataset.focus();
      actions.tell(this.#page.words.datasetFirst, true);
      return null;
    }
    remember(folder);
    const answer = await actions.add(made, folder);
    void this.#listFolders();
    if (!answer?.folder) return null;
    this.#added.set(made.id, answer.folder);
    return answer.folder;
  }

  async #listFolders() {
    const { folders } = await getJson(this.#api, "/set_folders").catch(() => ({ folders: [] }));
    const { words } = this.#page;
    this.folders.replaceChildren(
      ...folders.map(({ name, count }) => make("option", "", [], { value: name, label: `${name} (${fill(words.datasetEntry, { count })})` })),
    );
  }

  #card(made) {
    return setCard(this.#api, made, this.#page, this.#actions, this.#added.get(made.id) ?? null);
  }

  #draw() {
    const { list } = this;
    const { words } = this.#page;
    const wanted = new Map(list.sets.map((made) => [`${made.id} ${made.stamp} ${made.scores.length}`, made]));
    for (const [key, card] of this.#cards) {
      if (wanted.has(key)) continue;
      card.remove();
      this.#cards.delete(key);
    }
    let before = null;
    for (const [key, made] of wanted) {
      let card = this.#cards.get(key);
      if (!card) this.#cards.set(key, (card = this.#card(made)));
      const place = before ? before.nextSibling : this.cards.firstChild;
      if (card !== place) this.cards.insertBefore(card, place); // a card that stays in place keeps its focus
      before = card;
    }
    this.status.textContent = statusOf(list, words);
    this.status.classList.toggle("incontext-problem", !list.isAnswering);
    this.end.hidden = !list.more;
    this.notes.textContent = list.bare && !list.text ? fill(words.bare, { count: list.bare }) : "";
  }
}

/** What stands above the sets. */
export function statusOf(list, words) {
  if (!list.isAnswering) return words.noAnswer;
  if (!list.isKnown) return words.loading;
  if (list.unread) return fill(words.reading, { count: list.unread });
  if (list.total) return fill(words.total, { count: list.total });
  return list.text.trim() ? words.noneFound : words.none;
}

function remembered() {
  try {
    return localStorage.getItem(KEPT) ?? "";
  } catch {
    return ""; // the browser keeps nothing
  }
}

function remember(name) {
  try {
    localStorage.setItem(KEPT, name);
  } catch {
    // it is asked for again next time
  }
}
