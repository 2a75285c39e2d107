import assert from "node:assert/strict";
import { test } from "node:test";

import { cardsOf, datasetName } from "../../js/lib/dataset_view.mjs";

test("a dataset is called by its name, else by its folder", () => {
  assert.equal(datasetName({ name: " shots ", folder: "a/b" }), "shots");
  assert.equal(datasetName({ name: "", folder: '"/home/me/my sets/"' }), "my sets");
  assert.equal(datasetName({ name: "", folder: "C:\\sets\\heroes" }), "heroes");
  assert.equal(datasetName({ name: "", folder: "" }), "");
});

const [error, warning, note] = ["error", "warning", "note"].map((level) => ({ level }));
const dataset = {
  sets: [
    { name: "a", findings: [note] },
    { name: "b", findings: [note, warning] },
  ],
  left_out: [{ name: "c", findings: [error] }],
};

test("sets keep their numbers; those that were left out come last, without one", () => {
  const cards = cardsOf(dataset, false);
  assert.deepEqual(cards.map(({ name, number }) => [name, number]), [["a", 1], ["b", 2], ["c", 0]]);
  assert.deepEqual(cards[1].findings, [warning, note], "the serious one first");
});

test("notes alone are nothing to look at", () => {
  assert.deepEqual(cardsOf(dataset, true).map((card) => card.name), ["b", "c"]);
});
