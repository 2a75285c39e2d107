import assert from "node:assert/strict";
import { test } from "node:test";

import { wordsOf as galleryWordsOf } from "../../js/lib/gallery/words.mjs";
import { wordsOf as trainingWordsOf } from "../../js/lib/training/words.mjs";
import { fill, wordsOf } from "../../js/lib/words.mjs";

const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort();

for (const [part, words] of Object.entries({ nodes: wordsOf, trainings: trainingWordsOf, gallery: galleryWordsOf })) {
  test(`every word for ${part} is there in Chinese, with the same places`, () => {
    const [english, chinese] = [words("en"), words("zh")];
    assert.deepEqual(Object.keys(chinese).sort(), Object.keys(english).sort());
    for (const [name, text] of Object.entries(chinese)) {
      assert.match(text, /\p{Script=Han}/u, name);
      assert.deepEqual(places(text), places(english[name]), name);
    }
  });
}

test("other languages get English", () => {
  assert.equal(wordsOf("fr"), wordsOf("en"));
  assert.equal(wordsOf(undefined), wordsOf("en"));
});

test("places are filled", () => {
  assert.equal(fill("{a} of {b}, {c}", { a: 1, b: "$&" }), "1 of $&, {c}");
});
