/** Two pictures on top of each other, with a divider that is dragged, or moved with the arrow keys. */

import { make } from "./dom.mjs";

const STEPS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 };
const MIDDLE = 50; // per cent of the width that shows what was before

export class Compare {
  #words;
  #at = MIDDLE;
  #asked = "";
  #frame = make("div", "incontext-frame");
  #before = make("img", "incontext-before", [], { alt: "", draggable: "false" });
  #after = make("img", "incontext-after", [], { alt: "", draggable: "false" });
  #note = make("div", "incontext-note");

  /** @param {Record<"before" | "after" | "divider" | "nothingYet" | "pictureGone", string>} words */
  constructor(words) {
    this.#words = words;
    this.divider = make("div", "incontext-divider", [], {
      role: "slider",
      tabindex: "0",
      "aria-label": words.divider,
      "aria-valuemin": "0",
      "aria-valuemax": "100",
    });
    const labels = ["before", "after"].map((side) => make("span", `incontext-label incontext-label-${side}`, [words[side]]));
    this.#frame.append(this.#after, this.#before, ...labels, this.divider);
    this.element = make("div", "incontext-lora incontext-compare", [make("div", "incontext-stage", [this.#frame]), this.#note]);
    this.#frame.addEventListener("pointerdown", (event) => this.#drag(event));
    this.divider.addEventListener("keydown", (event) => this.#press(event));
    this.#move(MIDDLE);
    this.#say(words.nothingYet);
  }

  /**
   * Show two pictures once both are loaded; what is shown stays meanwhile.
   * @param {{before: string, after: string} | null} addresses  null if nothing has run yet
   */
  async show(addresses) {
    const asked = JSON.stringify(addresses);
    if (asked === this.#asked) return;
    this.#asked = asked;
    if (!addresses) return this.#say(this.#words.nothingYet);
    const loaded = await Promise.all([addresses.before, addresses.after].map(isThere));
    if (asked !== this.#asked) return; // others have been asked for since
    if (!loaded.every(Boolean)) return this.#say(this.#words.pictureGone);
    [this.#before.src, this.#after.src] = [addresses.before, addresses.after];
    const { naturalWidth, naturalHeight } = loaded[1];
    this.#frame.style.setProperty("--incontext-ratio", String(naturalWidth / naturalHeight));
    this.#say("");
  }

  #say(text) {
    this.#note.textContent = text;
    this.#note.hidden = text === "";
    this.#frame.hidden = text !== "";
  }

  /** @param {number} at  per cent of the width */
  #move(at) {
    this.#at = Math.min(100, Math.max(0, at));
    this.#frame.style.setProperty("--incontext-at", `${this.#at}%`);
    this.divider.setAttribute("aria-valuenow", String(Math.round(this.#at)));
    this.divider.setAttribute("aria-valuetext", `${Math.round(this.#at)} % ${this.#words.before}`);
  }

  #press(event) {
    const step = STEPS[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.#move(this.#at + step);
  }

  #drag(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    this.divider.focus({ preventScroll: true });
    this.#frame.setPointerCapture(event.pointerId);
    const follow = (now) => {
      now.stopPropagation();
      const { left, width } = this.#frame.getBoundingClientRect();
      this.#move((100 * (now.clientX - left)) / width);
    };
    const stop = new AbortController();
    const end = (now) => {
      now.stopPropagation();
      stop.abort();
    };
    this.#frame.addEventListener("pointermove", follow, { signal: stop.signal });
    for (const name of ["pointerup", "pointercancel"]) this.#frame.addEventListener(name, end, { signal: stop.signal });
    follow(event);
  }
}

/** A picture that is loaded, or null: the temp folder may have been emptied since. */
async function isThere(address) {
  const image = new Image();
  image.src = address;
  return image.decode().then(
    () => image,
    () => null,
  );
}
