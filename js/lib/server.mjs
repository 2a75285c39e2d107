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

  constructor(api, onNews) {
    this.#api = api;
    this.#onNews = onNews;
  }

  task(name) {
    if (this.#tasks === undefined) {
      this.#tasks = null;
      void this.#ask("/recipes", (answer) => (this.#tasks = answer));
    }
    return this.#tasks?.[name];
  }

  lora(name) {
    if (!this.#loras.has(name)) {
      this.#loras.set(name, undefined);
      const path = `/lora_recipe?name=${encodeURIComponent(name)}`;
      void this.#ask(path, (answer) => this.#loras.set(name, answer?.recipe ?? null));
    }
    return this.#loras.get(name);
  }

  /** Ask again: the files may have changed. */
  forget() {
    this.#loras.clear();
    this.#onNews();
  }

  async #ask(path, keep) {
    const response = await this.#api.fetchApi(ROOT + path).catch(() => null);
    keep(response?.ok ? await response.json() : null);
    this.#onNews();
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
