import assert from "node:assert/strict";
import { test } from "node:test";

import { headline, lines, wordsOf } from "../../js/lib/training/comparison.mjs";

const scores = { consistency: { title: "consistency", tells: "alike", blind: "" }, novelty: { title: "novelty", tells: "new", blind: "" } };
const standing = (candidate, means, rejected = []) => ({ candidate, means, rejected });

const comparison = {
  scores,
  lora: "run-chosen.safetensors",
  choice: {
    chosen: "late × 1",
    standings: [standing("late × 1", { consistency: 0.51234, novelty: 1 }), standing("copy × 1", { consistency: 0.9 }, ["novelty 0.1"])],
  },
};

test("the table has a line for each candidate, and a dash where nothing was measured", () => {
  const [late, copy] = lines(comparison);
  assert.equal(late.isChosen, true);
  assert.deepEqual(late.values.map(({ text }) => text), ["0.512", "1.000"]);
  assert.equal(copy.isChosen, false);
  assert.deepEqual(copy.rejected, ["novelty 0.1"]);
  assert.equal(copy.values[1].text, "–");
});

test("the choice is said in a sentence, also where there is none", () => {
  const words = wordsOf("en");
  assert.equal(headline(comparison, words), "late × 1 is chosen. It is run-chosen.safetensors in output/loras.");
  const none = { ...comparison, lora: "", choice: { ...comparison.choice, chosen: null } };
  assert.match(headline(none, words), /^None is chosen/);
});

test("every word is there in both languages", () => {
  assert.deepEqual(Object.keys(wordsOf("en")), Object.keys(wordsOf("zh")));
});
