/** What a user does with a run as a whole: name it, note something, open its folder, delete it. */

import { make } from "../dom.mjs";
import { fill } from "../words.mjs";
import { button, Part, shownName } from "./parts.mjs";

export class AboutView {
  #desk;
  #page;
  #onDeleted;

  /**
   * @param {import("./desk.mjs").Desk} desk
   * @param {import("./parts.mjs").Page} page
   * @param {() => void} onDeleted
   */
  constructor(desk, page, onDeleted) {
    this.#desk = desk;
    this.#page = page;
    this.#onDeleted = onDeleted;
    this.part = new Part("div", "incontext-about-run");
    this.element = this.part.element;
  }

  /** @param {import("./run_state.mjs").RunState} state */
  show({ run, checkpoints }) {
    const isRunning = run.state === "running";
    this.part.draw([run.name, run.label, run.note, isRunning, checkpoints.length], () => {
      const { words } = this.#page;
      const name = make("input", "incontext-field", [], { type: "text", name: "label", maxlength: "100", placeholder: run.name });
      name.value = run.label;
      name.addEventListener("change", () => this.#set(run, { label: name.value }));
      const note = make("textarea", "incontext-field", [], { name: "note", rows: "5", maxlength: "10000", placeholder: words.noteHint });
      note.value = run.note;
      note.addEventListener("change", () => this.#set(run, { note: note.value }));
      const folder = button(words.folder, words.folderHint, () => this.#open(run));
      folder.dataset.action = "folder";
      const remove = button(words.deleteRun, words.deleteHint, () => this.#delete(run, checkpoints.length));
      remove.dataset.action = "delete";
      remove.disabled = isRunning;
      return [
        make("label", "", [words.runName, name], { title: words.runNameHint }),
        note,
        make("div", "incontext-buttons", [folder, remove]),
      ];
    });
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
      this.#onDeleted();
    }
    this.#desk.lookNow();
  }

  /** The answer; undefined where there is none, which is said. */
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
