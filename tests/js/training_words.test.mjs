import assert from "node:assert/strict";
import { test } from "node:test";

import { wordsOf } from "../../js/lib/training/words.mjs";

const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort();

test("every word is there in Chinese, with the same places", () => {
  const [english, chinese] = [wordsOf("en"), wordsOf("zh")];
  assert.deepEqual(Object.keys(chinese).sort(), Object.keys(english).sort());
  for (const [name, text] of Object.entries(chinese)) {
    assert.match(text, /\p{Script=Han}/u, name);
    assert.deepEqual(places(text), places(english[name]), name);
  }
});
