import assert from "node:assert/strict";
import { test } from "node:test";

import { union } from "../../js/lib/training/columns.mjs";
import { curvesOfRun, curvesOfRuns } from "../../js/lib/training/curves.mjs";
import { Series } from "../../js/lib/training/run_state.mjs";
import { wordsOf } from "../../js/lib/training/words.mjs";

const words = wordsOf("en");

function series(...steps) {
  const made = new Series();
  made.add({
    step: steps,
    loss: steps.map((step) => 1 / step),
    smoothed: steps.map((step) => 2 / step),
    learning_rate: steps.map(() => 1e-4),
  });
  return made;
}

test("one loss is named loss, and validation is there once it was measured", () => {
  const one = series(1, 2);
  assert.deepEqual(
    curvesOfRun(one, words, false).lines.map(({ label }) => label),
    ["loss per step", "loss", "learning rate"],
  );
  one.validation.set(2, 0.5);
  assert.deepEqual(
    curvesOfRun(one, words, true).lines.map(({ label }) => label),
    ["loss per step", "loss", "validation"],
  );
});

test("runs of other steps are drawn over each other", () => {
  const curves = curvesOfRuns([
    { label: "one", series: series(1, 2, 4) },
    { label: "other", series: series(2, 3, 5) },
  ]);
  assert.deepEqual(curves.steps, [1, 2, 3, 4, 5]);
  assert.deepEqual(
    curves.lines.map(({ label, values }) => [label, values]),
    [
      ["one", [2, 1, null, 0.5, null]],
      ["other", [null, 1, 2 / 3, null, 0.4]],
    ],
  );
  assert.notEqual(curves.lines[0].colour, curves.lines[1].colour);
});

test("steps that are in several runs are there once", () => {
  assert.deepEqual(union([[1, 3], [], [0, 1, 4]]), [0, 1, 3, 4]);
  assert.deepEqual(union([]), []);
});
