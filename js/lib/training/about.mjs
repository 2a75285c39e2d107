/** What a user does with a run as a whole: name it, note something, open its folder, delete it. */

import { make } from "../dom.mjs";
import { fill } from "../words.mjs";
import { button, shownName } from "./parts.mjs";

export class AboutView {
  #desk;
  #page;
  #on;
  #label;
  #note;
  #remove;
  /** @type {object | null} summary of the run that is shown */
  #run = null;
  #checkpoints = 0;
  /** The name and the note as the server had them when they were last written into the fields. */
  #known = { label: "", note: "" };

  /**
   * @param {import("./desk.mjs").Desk} desk
   * @param {import("./parts.mjs").Page} page
   * @param {{deleted: () => void, typing: (name: string) => void}} on  `typing`: the panel stays with the run then
   */
  constructor(desk, page, on) {
    this.#desk = desk;
    this.#page = page;
    this.#on = on;
    const { words } = page;
    this.#label = make("input", "incontext-field", [], { type: "text", name: "label", maxlength: "100" });
    this.#label.addEventListener("change", () => this.#set(this.#run, { label: this.#label.value }));
    this.#note = make("textarea", "incontext-field", [], { name: "note", rows: "5", maxlength: "10000", placeholder: words.noteHint });
    this.#note.addEventListener("change", () => this.#set(this.#run, { note: this.#note.value }));
    this.#remove = button(words.deleteRun, words.deleteHint, () => this.#delete(this.#run, this.#checkpoints));
    this.#remove.dataset.action = "delete";
    const folder = button(words.folder, words.folderHint, () => this.#open(this.#run));
    folder.dataset.action = "folder";
    this.element = make("div", "incontext-about-run", [
      make("label", "", [words.runName, this.#label], { title: words.runNameHint }),
      this.#note,
      make("div", "incontext-buttons", [folder, this.#remove]),
    ]);
    this.element.addEventListener("focusin", () => on.typing(this.#run.name));
  }

  /**
   * Show a run. Its fields keep their elements and what is typed in them while the run goes on.
   * @param {import("./run_state.mjs").RunState} state
   */
  show({ run, checkpoints }) {
    const isOther = run.name !== this.#run?.name;
    for (const field of [this.#label, this.#note]) {
      const value = run[field.name];
      if (!isOther && (value === this.#known[field.name] || document.activeElement === field)) continue;
      field.value = this.#known[field.name] = value;
    }
    this.#label.placeholder = run.name;
    this.#run = run;
    this.#checkpoints = checkpoints.length;
    this.#remove.disabled = run.state === "running";
  }

  async #set(run, values) {
    await this.#try(() => this.#desk.post(pathOf(run, "label"), values));
    this.#desk.lookNow();
  }

  async #open(run) {
    const answer = await this.#try(() => this.#desk.post(pathOf(run, "folder")));
    if (!answer || answer.opened) return;
    await navigator.clipboard?.writeText(answer.folder).catch(() => {}); // not over plain http
    this.#page.tell(fill(this.#page.words.folderIs, answer));
  }

  async #delete(run, count) {
    const { words, tell, confirm } = this.#page;
    const name = shownName(run);
    if (!(await confirm(words.deleteTitle, fill(words.deleteQuestion, { name, count })))) return;
    const answer = await this.#try(() => this.#desk.post(pathOf(run, "delete")));
    if (answer) {
      tell(fill(words.deleted, { name }));
      this.#on.deleted();
    }
    this.#desk.lookNow();
  }

  /** The answer; undefined if there is none, which the page is told. */
  async #try(ask) {
    try {
      return await ask();
    } catch (error) {
      this.#page.tell(this.#page.translate(error.message), true);
      return undefined;
    }
  }
}

const pathOf = (run, action) => `/runs/${encodeURIComponent(run.name)}/${action}`;
