/** Says, when something begins to run, that a training in the background is on the same graphics card. */

import { fill } from "../words.mjs";

export class CardWatch {
  #desk;
  #words;
  #tell;
  #said = "";

  /**
   * @param {{get: (path: string) => Promise<{on_card?: string[]}>}} desk
   * @param {{cardBusy: string}} words
   * @param {(text: string, isProblem?: boolean) => void} tell
   */
  constructor(desk, words, tell) {
    this.#desk = desk;
    this.#words = words;
    this.#tell = tell;
  }

  /** Look, and say it once for each training. */
  async look() {
    const { on_card: names = [] } = await this.#desk.get("/runs").catch(() => ({}));
    const [name = ""] = names;
    if (name && name !== this.#said) this.#tell(fill(this.#words.cardBusy, { name }), true);
    this.#said = name;
  }
}
