import assert from "node:assert/strict";
import { test } from "node:test";

import { translator } from "../../js/lib/messages.mjs";
import { CHINESE } from "../../js/lib/messages_zh.mjs";

const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort();

test("every sentence is there in Chinese, with values that the English has", () => {
  for (const [english, chinese] of Object.entries(CHINESE)) {
    assert.match(chinese, /\p{Script=Han}/u, english);
    for (const place of places(chinese)) assert.ok(english.includes(place), english);
  }
});

test("a sentence of the server is translated with its values, line by line", () => {
  const translate = translator("zh");
  assert.equal(translate("Stopped at step 340. Resume it from there."), "已在第 340 步停止，可从该处恢复。");
  assert.equal(translate("training\nsomething else"), "训练\nsomething else");
  assert.equal(translate(""), "");
  assert.equal(translate(undefined), undefined);
});

test("no value is taken for a pattern", () => {
  const translate = translator("zh");
  assert.match(translate("a$1{name} is training. Stop it before you delete it."), /^a\$1\{name\} /);
});

test("other languages hear the server as it speaks", () => {
  assert.equal(translator("en")("training"), "training");
  assert.equal(translator(undefined)("training"), "training");
});
