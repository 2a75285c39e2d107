import assert from "node:assert/strict";
import { test } from "node:test";

import { besides, factsOf } from "../../js/lib/lora_card.mjs";
import { wordsOf } from "../../js/lib/words.mjs";

const RECIPE = {
  title: "Film storyboard",
  prefix: "[MOVIE-SHOTS] ",
  base: "FLUX.1-dev",
  sampling: { steps: 28, cfg: 1, guidance: 3.5 },
  layout: { width: 1024, height: 1536, panels: [{}, {}, {}] },
};

test("a card says trigger, size, base and settings", () => {
  assert.deepEqual(factsOf(RECIPE, wordsOf("en")), [
    ["Task", "Film storyboard"],
    ["Trigger", "[MOVIE-SHOTS]"],
    ["Trained at", "1024 × 1536, 3 panels"],
    ["Base model", "FLUX.1-dev"],
    ["Settings", "28 steps, CFG 1, guidance 3.5"],
  ]);
  assert.equal(factsOf(RECIPE, wordsOf("zh"))[2][1], "1024 × 1536，3 格");
});

test("what a recipe does not say is left out", () => {
  const facts = factsOf({ layout: RECIPE.layout, prefix: "", base: "" }, wordsOf("en"));
  assert.deepEqual(facts, [["Trained at", "1024 × 1536, 3 panels"]]);
});

test("a card is beside its entry and within the window", () => {
  const view = { width: 1000, height: 600 };
  const card = { width: 260, height: 300 };
  assert.deepEqual(besides({ left: 100, right: 300, top: 50 }, card, view), { left: 312, top: 50 });
  assert.deepEqual(besides({ left: 700, right: 900, top: 50 }, card, view), { left: 428, top: 50 });
  assert.deepEqual(besides({ left: 100, right: 300, top: 580 }, card, view), { left: 312, top: 288 });
});
