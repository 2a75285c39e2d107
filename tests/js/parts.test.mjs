import assert from "node:assert/strict";
import { test } from "node:test";

import { facts, shownName } from "../../js/lib/training/parts.mjs";
import { wordsOf } from "../../js/lib/training/words.mjs";

const english = { words: wordsOf("en"), translate: (text) => text };
const run = {
  ...{ name: "toys", label: "", state: "running", phase: "encoding picture", phase_done: 12, phase_total: 40, step: 0 },
  ...{ steps: 600, smoothed: null, learning_rate: null, seconds_per_step: null, seconds_left: null, memory: null },
};

test("a phase is counted where it counts", () => {
  assert.deepEqual(facts(run, english), ["encoding picture 12 of 40", "step 0 of 600"]);
  const training = { ...run, phase: "training", phase_done: null, phase_total: null };
  assert.deepEqual(facts(training, english), ["training", "step 0 of 600"]);
});

test("nothing of a run that is over is stale", () => {
  const over = { ...run, state: "finished", phase: "training", step: 600, smoothed: 0.5, learning_rate: 1e-4 };
  const told = facts({ ...over, seconds_per_step: 2, seconds_left: 30, memory: 3 }, english);
  assert.deepEqual(told, ["step 600 of 600", "loss 0.5000"]);
});

test("the name that the user gave a run is shown", () => {
  assert.equal(shownName(run), "toys");
  assert.equal(shownName({ ...run, label: "with better captions" }), "with better captions");
});
