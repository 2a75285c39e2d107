import assert from "node:assert/strict";
import { test } from "node:test";

import { duration, loss, rate, size } from "../../js/lib/training/numbers.mjs";

test("durations", () => {
  assert.deepEqual([0, 65, 3599.6, 90_061].map(duration), ["0:00", "1:05", "1:00:00", "25:01:01"]);
  assert.deepEqual([-1, null, undefined, NaN].map(duration), ["", "", "", ""]);
});

test("losses have four digits", () => {
  assert.deepEqual([0.43213, 12.3456, 0.00012345, null].map(loss), ["0.4321", "12.35", "1.23e-4", "–"]);
});

test("learning rates are written as people write them", () => {
  assert.deepEqual([1e-4, 7.5e-5, 0.002, 1, 0, undefined].map(rate), ["1e-4", "7.5e-5", "0.002", "1", "0", "–"]);
});

test("sizes of files", () => {
  assert.deepEqual([10, 20_400_000, 1.5e9].map(size), ["1 kB", "20.4 MB", "1.5 GB"]);
});
