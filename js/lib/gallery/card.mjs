/** A set on the page: its panels, its caption, what is known of it, and what can be done with it. */

import { make, onPress } from "../dom.mjs";
import { fill } from "../words.mjs";
import { captionPieces, factsOf, panelAddress, panelName, perRow, timeAgo, titleOf } from "./sets.mjs";

/**
 * @typedef {object} Actions  what the buttons of a set do; each says by itself what it did
 * @property {(made: object, panel: number | null) => Promise<void>} reference
 * @property {(made: object, panel: number) => Promise<void>} repaint
 * @property {(made: object) => Promise<string | null>} add  the folder that holds the set then
 * @property {(made: object) => Promise<void>} workflow
 * @property {(made: object, panel: number) => void} enlarge
 * @property {(text: string) => void} copy
 */

/**
 * @param {object} api
 * @param {import("./sets.mjs").MadeSet} made
 * @param {{words: object, locale: string}} page
 * @param {Actions} actions
 * @param {string | null} folder  the folder that the set was added to before
 */
export function setCard(api, made, page, actions, folder = null) {
  const { words, locale } = page;
  const title = titleOf(made, words);
  const time = make("time", "incontext-note", [timeAgo(made.time, Date.now() / 1000, locale)], {
    datetime: new Date(1000 * made.time).toISOString(),
    title: new Date(1000 * made.time).toLocaleString(locale),
  });
  const dot = make("span", "incontext-new", [], { title: words.thisSession });
  const head = [make("b", "incontext-name", [title], { title: made.name }), ...(made.is_new ? [dot] : []), time];
  return make(
    "article",
    "incontext-set",
    [
      panelsOf(api, made, page, actions),
      make("header", "incontext-head", head),
      captionOf(made, words),
      factsLine(made, words, actions),
      buttons(made, words, actions, folder),
    ],
    { "data-set": made.id, "aria-label": `${title}, ${made.name}` },
  );
}

function panelsOf(api, made, { words }, actions) {
  const cells = made.panels.map((panel, index) => {
    const name = panelName(made, index);
    const [, , width, height] = panel.box;
    const cell = make("figure", "incontext-panel", [], { style: `aspect-ratio: ${width} / ${height}` });
    if (!panel.is_there) {
      cell.append(make("span", "incontext-missing", [words.missing]));
    } else {
      const image = make("img", "", [], { src: panelAddress(api, made, index), alt: panel.text || name, loading: "lazy", draggable: "false" });
      const large = make("button", "incontext-look", [image], { type: "button", title: panel.text || fill(words.enlarge, { panel: name }) });
      large.addEventListener("click", () => actions.enlarge(made, index));
      const tools = [button("pi-image", words.reference, fill(words.referenceHint, { panel: name }), () => actions.reference(made, index))];
      if (made.kind !== "picture")
        tools.push(button("pi-refresh", words.repaint, fill(words.repaintHint, { panel: name }), () => actions.repaint(made, index)));
      for (const tool of tools) tool.classList.add("incontext-icon");
      cell.append(large, make("div", "incontext-tools", tools));
    }
    if (panel.is_reference) cell.append(make("span", "incontext-given", [words.given]));
    return cell;
  });
  return make("div", "incontext-panels", cells, { style: `--incontext-columns: ${perRow(made.panels)}` });
}

function captionOf(made, words) {
  if (!made.caption) return make("p", "incontext-caption incontext-note", [words.noCaption]);
  const pieces = captionPieces(made).map(({ isMark, text }) => (isMark ? make("mark", "", [text]) : text));
  const caption = make("p", "incontext-caption", pieces, { title: made.caption });
  caption.addEventListener("click", () => {
    if (!String(getSelection())) caption.classList.toggle("incontext-open");
  });
  return caption;
}

function factsLine(made, words, actions) {
  const facts = factsOf(made, words).map(({ kind, text, hint }) => make("span", `incontext-fact incontext-${kind}`, [text], { title: hint }));
  if (made.seed !== null) {
    const seed = make("button", "incontext-fact incontext-seed", [fill(words.seed, made)], { type: "button", title: words.copySeed });
    seed.addEventListener("click", () => actions.copy(made.seed));
    facts.unshift(seed);
  }
  return make("div", "incontext-facts", facts);
}

function buttons(made, words, actions, folder) {
  const found = [];
  if (made.kind !== "picture") {
    const add = button("pi-plus", words.add, words.addHint, async () => {
      const added = await actions.add(made);
      if (added !== null) markAdded(add, fill(words.isIn, { folder: added }));
    });
    if (folder !== null) markAdded(add, fill(words.isIn, { folder }));
    found.push(add);
    const hint = fill(words.referenceHint, { panel: words.whole });
    found.push(button("pi-image", words.referenceShort, hint, () => actions.reference(made, null), `${words.reference}: ${words.whole}`));
  }
  const workflow = button("pi-sitemap", words.workflow, words.workflowHint, () => actions.workflow(made));
  workflow.classList.add("incontext-icon");
  found.push(workflow);
  return make("div", "incontext-actions", found);
}

function markAdded(add, text) {
  add.classList.add("incontext-done");
  add.querySelector("i").className = "pi pi-check";
  add.querySelector("span").textContent = text;
  add.setAttribute("aria-label", text);
}

/** A button that cannot be pressed again while it works. */
function button(icon, text, hint, act, name = text) {
  const element = make("button", "incontext-button", [make("i", `pi ${icon}`), make("span", "", [text])], {
    type: "button",
    title: hint,
    "aria-label": name,
  });
  onPress(element, act);
  return element;
}
