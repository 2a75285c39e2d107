import assert from "node:assert/strict";
import { test } from "node:test";

import { onWidget, showWidget } from "../../js/lib/widgets.mjs";

test("a widget takes a value that only its callback gets, and says so", () => {
  let looks = 0;
  const seen = [];
  const widget = { type: "text", value: "", callback: (value) => seen.push(value) };
  onWidget(widget, () => looks++);
  widget.callback("dawn");
  assert.deepEqual([widget.value, seen, looks], ["dawn", ["dawn"], 1]);
  widget.callback(); // as extensions call it to say that something has changed
  assert.deepEqual([widget.value, looks], ["dawn", 2]);
});

test("a button has no value of its own", () => {
  const button = { type: "button", value: null };
  onWidget(button, () => {});
  button.callback(button);
  assert.equal(button.value, null);
});

test("a copy of a hidden widget's options hides a widget in older frontends alone", () => {
  const older = { options: { multiline: true } };
  const newer = { options: { multiline: true }, widgetId: "graph:1:panel_1" };
  for (const widget of [older, newer]) {
    assert.ok(showWidget(widget, false));
    assert.ok(widget.hidden && widget.options.hidden);
    assert.ok(!showWidget(widget, false), "it is hidden already");
  }
  assert.deepEqual([{ ...older.options }, { ...newer.options }], [{ multiline: true, hidden: true }, { multiline: true }]);
  assert.ok(showWidget(newer, true));
  assert.ok(!newer.hidden && !newer.options.hidden);
});
