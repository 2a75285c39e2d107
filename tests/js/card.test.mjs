import assert from "node:assert/strict";
import { test } from "node:test";

import { CardWatch } from "../../js/lib/training/card.mjs";
import { wordsOf } from "../../js/lib/training/words.mjs";

function watch(answers) {
  const said = [];
  const desk = { get: async () => answers.shift()() };
  return { said, card: new CardWatch(desk, wordsOf("en"), (text) => said.push(text)) };
}

test("a training on the same card is said once, and again after another one", async () => {
  const busy = (...on_card) => () => ({ runs: [], on_card });
  const { said, card } = watch([busy("a", "b"), busy("a"), busy(), busy("a"), busy("b")]);
  for (let turn = 0; turn < 5; turn += 1) await card.look();
  assert.deepEqual(
    said.map((text) => text.split(" ")[0]),
    ["a", "a", "b"],
  );
  assert.match(said[0], /may run out of memory/);
});

test("a server that does not answer, or is an earlier one, says nothing", async () => {
  const { said, card } = watch([
    () => {
      throw new Error("gone");
    },
    () => ({ runs: [] }),
  ]);
  await card.look();
  await card.look();
  assert.deepEqual(said, []);
});
