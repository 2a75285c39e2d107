import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { readChoice, toggleChoice } from "../../js/lib/choice.mjs";

// written by the Python side, see tests/unit/test_choice_cases.py
const cases = JSON.parse(readFileSync(new URL("./choice_cases.json", import.meta.url), "utf-8"));
const SCENES = ["SCENE-1", "SCENE-2", "SCENE-3"];

test("the same panels and the same refusals as on the server", () => {
  assert.ok(cases.length > 100);
  for (const { names, text, chosen } of cases) {
    const read = readChoice(text, names);
    const told = `${JSON.stringify(text)} of ${names}`;
    if (chosen === null) assert.notEqual(read.unknown.length, 0, told);
    else assert.deepEqual([read.chosen, read.unknown], [chosen, []], told);
  }
});

test("a click changes one panel, whatever is written", () => {
  for (const { names, text } of cases) {
    for (const index of names.keys()) {
      const before = readChoice(text, names);
      const once = readChoice(toggleChoice(text, names, index), names);
      const expected = names.map((_, each) => before.chosen.includes(each) !== (each === index));
      assert.deepEqual(names.map((_, each) => once.chosen.includes(each)), expected, `${JSON.stringify(text)} of ${names}, ${index}`);
    }
  }
});

test("what was written stays as it is", () => {
  const clicked = (text, ...indices) => indices.reduce((now, index) => toggleChoice(now, SCENES, index), text);
  assert.equal(clicked("2", 0), "1, 2");
  assert.equal(clicked("1, 3", 1), "1, 2, 3");
  assert.equal(clicked("1 3", 1), "1 2 3");
  assert.equal(clicked("1;3", 1), "1;2;3");
  assert.equal(clicked("3, 1", 1), "3, 1, 2");
  assert.equal(clicked("scene-3", 0), "SCENE-1, scene-3");
  assert.equal(clicked("[SCENE-1]", 1), "[SCENE-1], [SCENE-2]");
  assert.equal(clicked("1, scene-2 , 3", 1), "1, 3");
  assert.equal(clicked("1, 2, 3", 2), "1, 2");
  assert.equal(clicked("1, 7", 0), "7");
  assert.equal(clicked("7", 0), "7, 1");
  assert.equal(clicked("2", 1), "");
  assert.equal(clicked("", 2, 0, 1), "1, 2, 3");
});

test("a name that would be read otherwise is written in another way", () => {
  assert.equal(toggleChoice("", ["2", "1"], 0), "2");
  assert.equal(toggleChoice("B", ["A, B", "B"], 0), "1, B");
});
