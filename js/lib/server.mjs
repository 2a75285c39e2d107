/** What the pack's own server routes tell; see nodes/routes.py. */

const ROOT = "/incontext_lora";

/**
 * Recipes of tasks and LoRAs, asked for once each. What is not here yet is undefined, and `onNews` is called when it is.
 * @implements {import("./upstream.mjs").Knowledge}
 */
export class Recipes {
  #api;
  #onNews;
  /** @type {Record<string, object> | null | undefined} */
  #tasks;
  #loras = new Map();
  #questions = new Set();

  constructor(api, onNews) {
    this.#api = api;
    this.#onNews = onNews;
  }

  task(name) {
    if (this.#tasks === undefined) {
      this.#tasks = null;
      this.#ask("/recipes", (answer) => (this.#tasks = answer));
    }
    return this.#tasks?.[name];
  }

  lora(name) {
    if (!this.#loras.has(name)) {
      this.#loras.set(name, undefined);
      const path = `/lora_recipe?name=${encodeURIComponent(name)}`;
      this.#ask(path, (answer) => this.#loras.set(name, answer?.recipe ?? null));
    }
    return this.#loras.get(name);
  }

  /** Ask again: the files may have changed. */
  forget() {
    this.#loras.clear();
    this.#onNews();
  }

  /** Wait for what has been asked, for a second at most. */
  async settled() {
    const second = new Promise((done) => setTimeout(done, 1000));
    await Promise.race([Promise.all(this.#questions), second]);
  }

  #ask(path, keep) {
    const question = this.#answer(path).then((answer) => {
      keep(answer);
      this.#questions.delete(question);
      this.#onNews();
    });
    this.#questions.add(question);
  }

  async #answer(path) {
    try {
      const response = await this.#api.fetchApi(ROOT + path);
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }
}

/**
 * Post a question; a refusal comes back as `{error}`, and null where the server does not answer.
 * @param {object} api
 * @param {"caption" | "parse_caption"} route
 * @param {object} question
 */
export async function ask(api, route, question) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question) };
  try {
    const response = await api.fetchApi(`${ROOT}/${route}`, request);
    return await response.json();
  } catch {
    return null;
  }
}
