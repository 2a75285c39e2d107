import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { fittings, placed } from "../../js/lib/fitting.mjs";

// written by the Python side, see tests/unit/test_fitting_cases.py
const { names, places, exceptions } = JSON.parse(readFileSync(new URL("./fitting_cases.json", import.meta.url), "utf-8"));
const edges = ({ left, top, width, height }) => [left, top, width, height];

test("images come into panels as on the server", () => {
  assert.ok(places.length > 500);
  for (const { image, panel, fit, align, boxes } of places) {
    const found = placed(...image, { width: panel[0], height: panel[1] }, { fit, align });
    assert.deepEqual(found && [edges(found.crop), edges(found.content)], boxes, `${image} in ${panel}, ${fit}, ${align}`);
  }
});

test("exceptions are read as on the server", () => {
  for (const { text, fittings: expected } of exceptions) {
    assert.deepEqual(fittings(names, { fit: "cover", align: "center" }, text), expected, text);
  }
});
