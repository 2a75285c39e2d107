/** What a LoRA was made for, on a card beside the list in which one chooses it. */

import { make, place } from "./dom.mjs";
import { layoutFrom } from "./upstream.mjs";
import { fill } from "./words.mjs";

/**
 * What a user wants to know before choosing a LoRA, as pairs of name and value.
 * @param {object} recipe  as JSON
 * @param {object} words
 * @returns {[string, string][]}
 */
export function factsOf(recipe, words) {
  const { title, layout, prefix, base, sampling } = recipe;
  const size = fill(words.cardSize, { width: layout.width, height: layout.height, count: layout.panels.length });
  const steps = sampling && fill(words.cardSampling, sampling);
  const facts = [
    [words.cardTask, title],
    [words.cardTrigger, prefix?.trim()],
    [words.cardTrained, size],
    [words.cardBase, base],
    [words.cardSettings, steps],
  ];
  return facts.filter(([, value]) => value);
}

/**
 * The card of a LoRA.
 * @param {string} name
 * @param {object | null | undefined} recipe  null if it has none, undefined while that is not known
 * @param {object} words
 * @param {string} preview  address of a picture that may not exist
 */
export function loraCard(name, recipe, words, preview) {
  const picture = make("img", "incontext-card-preview", [], { src: preview, alt: "" });
  picture.addEventListener("error", () => picture.remove());
  const card = make("aside", "incontext-lora incontext-card", [picture, make("strong", "", [name.replace(/\.safetensors$/i, "")])]);
  if (!recipe) {
    card.append(make("p", "incontext-note", [recipe === null ? words.cardNoRecipe : words.cardAsking]));
    return card;
  }
  const layout = layoutFrom(recipe);
  const cells = layout.boxes.map((box, index) => {
    const cell = make("span", "incontext-card-cell", [layout.names[index]]);
    place(cell, box, layout);
    return cell;
  });
  const canvas = make("div", "incontext-card-canvas", cells);
  canvas.style.aspectRatio = `${layout.width} / ${layout.height}`;
  const facts = factsOf(recipe, words).flatMap(([term, value]) => [make("dt", "", [term]), make("dd", "", [value])]);
  card.append(canvas, make("dl", "", facts));
  return card;
}

/** Where a card of this size goes: beside the entry, within the window. */
export function besides(entry, card, view) {
  const gap = 12;
  const right = entry.right + gap;
  const left = right + card.width <= view.width ? right : Math.max(gap, entry.left - gap - card.width);
  return { left, top: Math.max(gap, Math.min(entry.top, view.height - card.height - gap)) };
}
