import assert from "node:assert/strict";
import { test } from "node:test";

import { readFile } from "../../js/lib/given.mjs";

test("files as Load Image names them", () => {
  assert.deepEqual(readFile("hero.png"), { filename: "hero.png", subfolder: "", type: "input" });
  assert.deepEqual(readFile("sets/01/hero 2.png [output]"), { filename: "hero 2.png", subfolder: "sets/01", type: "output" });
  assert.deepEqual(readFile("clipspace\\mask [1].png [input]"), { filename: "mask [1].png", subfolder: "clipspace", type: "input" });
  for (const nothing of ["", " ", undefined, null, 3, ["a.png", 0]]) assert.equal(readFile(nothing), null);
});
