import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { formatBoxes, layoutOf, LayoutError, parseBoxes } from "../../js/lib/layout.mjs";

// written by the Python side, see tests/unit/test_layout_cases.py
const cases = JSON.parse(readFileSync(new URL("./layout_cases.json", import.meta.url), "utf-8"));

test("the same layouts and the same refusals as on the server", () => {
  assert.ok(cases.length > 200);
  for (const { values, layout, error } of cases) {
    const name = JSON.stringify(values);
    if (error) {
      assert.throws(() => layoutOf(values), (thrown) => {
        assert.ok(thrown instanceof LayoutError, `${name}: ${thrown}`);
        assert.equal(thrown.message, error, name);
        return true;
      });
      continue;
    }
    const made = layoutOf(values);
    const panels = made.boxes.map((box, index) => ({
      name: made.names[index],
      box: [box.left, box.top, box.width, box.height],
    }));
    assert.deepEqual({ width: made.width, height: made.height, panels }, layout, name);
  }
});

test("boxes that were written are read again", () => {
  const boxes = [
    { left: 0, top: 0, width: 64, height: 128 },
    { left: 80, top: 16, width: 48, height: 112 },
  ];
  assert.deepEqual(parseBoxes(formatBoxes(boxes)), { boxes, names: [] });
  assert.deepEqual(parseBoxes(formatBoxes(boxes, ["A", "TIME: 1"])), { boxes, names: ["A", "TIME: 1"] });
});
