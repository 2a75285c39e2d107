/** What the pack's own server routes tell; see nodes/server/routes.py. */

export const ROOT = "/incontext_lora";

/** ms until a question that failed is asked again; doubled after each failure. */
const PATIENCE = 1000;
const MOST_PATIENCE = 60_000;

/**
 * Recipes of tasks and LoRAs, asked for once each, and again while the server does not answer. What is not here yet is
 * undefined, and `onNews` is called when it is.
 * @implements {import("./upstream.mjs").Knowledge}
 */
export class Recipes {
  #api;
  #onNews;
  #patience;
  /** @type {Map<string, object | null>} path → the answer; null if the server refused */
  #answers = new Map();
  /** @type {Set<string>} paths whose answers may have changed; they are shown until there are new ones */
  #outdated = new Set();
  /** @type {Map<string, Promise<void>>} path → a question that is on its way */
  #questions = new Map();
  /** @type {Map<string, {until: number, patience: number}>} path → when a question that failed may be asked again */
  #failed = new Map();

  /** @param {number} [patience]  ms until a failed question is asked again */
  constructor(api, onNews, patience = PATIENCE) {
    this.#api = api;
    this.#onNews = onNews;
    this.#patience = patience;
  }

  task(name) {
    return this.#about("/recipes")?.[name];
  }

  lora(name) {
    const answer = this.#about(`/lora_recipe?name=${encodeURIComponent(name)}`);
    return answer === undefined ? undefined : (answer?.recipe ?? null);
  }

  /** Ask again for LoRAs, since their files may have changed, and for what failed. */
  forget() {
    for (const path of this.#answers.keys()) if (path !== "/recipes") this.#outdated.add(path);
    this.#failed.clear();
    this.#onNews();
  }

  /** Wait for what has been asked, for a second at most. */
  async settled() {
    const second = new Promise((done) => setTimeout(done, 1000));
    await Promise.race([Promise.all(this.#questions.values()), second]);
  }

  #about(path) {
    const isWaiting = Date.now() < (this.#failed.get(path)?.until ?? 0);
    const isNeeded = !this.#answers.has(path) || this.#outdated.has(path);
    if (isNeeded && !this.#questions.has(path) && !isWaiting) {
      this.#questions.set(path, this.#ask(path));
    }
    return this.#answers.get(path);
  }

  async #ask(path) {
    const answer = await this.#answer(path);
    this.#questions.delete(path);
    if (answer === undefined) {
      const patience = this.#failed.get(path)?.patience ?? this.#patience;
      this.#failed.set(path, { until: Date.now() + patience, patience: Math.min(2 * patience, MOST_PATIENCE) });
      setTimeout(this.#onNews, patience + 1); // whoever still needs it asks again then
      return;
    }
    this.#failed.delete(path);
    this.#outdated.delete(path);
    this.#answers.set(path, answer);
    this.#onNews();
  }

  /** The answer; null for a refusal, which would be the same again; undefined if nobody answered. */
  async #answer(path) {
    try {
      const response = await this.#api.fetchApi(ROOT + path);
      if (response.ok) return await response.json();
      return response.status >= 500 ? undefined : null;
    } catch {
      return undefined;
    }
  }
}

/** The server refused, and says why. */
export class Refusal extends Error {}

/**
 * @throws {Refusal} if the server refuses
 */
export function getJson(api, path) {
  return answered(api, path);
}

/**
 * @throws {Refusal} if the server refuses
 */
export function postJson(api, path, value) {
  return answered(api, path, posted(value));
}

async function answered(api, path, options) {
  const response = await api.fetchApi(ROOT + path, options);
  const answer = await response.json().catch(() => ({ error: `${response.status} ${response.statusText}` }));
  if (!response.ok) throw new Refusal(answer.error ?? response.statusText);
  return answer;
}

const posted = (value) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });

/**
 * Post a question; a refusal comes back as `{error}`, and null if the server does not answer.
 * @param {object} api
 * @param {"caption" | "parse_caption"} route
 * @param {object} question
 */
export async function ask(api, route, question) {
  try {
    const response = await api.fetchApi(`${ROOT}/${route}`, posted(question));
    return await response.json();
  } catch {
    return null;
  }
}
