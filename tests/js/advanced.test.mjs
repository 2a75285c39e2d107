import assert from "node:assert/strict";
import { test } from "node:test";

import { addToggle, foldAdvanced } from "../../js/lib/advanced.mjs";
import { wordsOf } from "../../js/lib/words.mjs";

const WORDS = wordsOf("en");
const OWN = { inThisRenderer: false, inAny: false };
const HOST = { inThisRenderer: true, inAny: true };

/** A node with one field of each kind; the second advanced one is connected. */
function node() {
  const widgets = ["steps", "alpha", "seed"].map((name) => ({ name, options: { advanced: name !== "steps" } }));
  const inputs = ["steps", "alpha", "seed"].map((name) => ({ name, link: name === "seed" ? 1 : null }));
  return {
    widgets,
    inputs,
    graph: { getLink: () => ({}) },
    addWidget(type, name, value, callback, options) {
      widgets.push({ type, name, callback, options });
      return widgets.at(-1);
    },
    removeInput: (slot) => inputs.splice(slot, 1),
  };
}

const shown = ({ widgets }) => widgets.filter((widget) => !widget.hidden).map((widget) => widget.name);

test("advanced fields are folded away with their inputs, but those that are connected", () => {
  const training = node();
  const toggle = addToggle(training, () => {});
  assert.equal(toggle.serialize, false);
  assert.equal(foldAdvanced(training, OWN, WORDS), true);
  assert.deepEqual(shown(training), ["steps", "seed", "Show 2 advanced inputs"]);
  assert.deepEqual(training.inputs.map((input) => input.name), ["steps", "seed"]); // prettier-ignore
  assert.equal(foldAdvanced(training, OWN, WORDS), false, "nothing more to change");
  training.showAdvanced = true;
  foldAdvanced(training, OWN, WORDS);
  assert.deepEqual(shown(training), ["steps", "alpha", "seed", "Hide advanced inputs"]);
  assert.deepEqual(training.inputs.map((input) => input.name), ["steps", "alpha", "seed"]); // prettier-ignore
});

test("where the host folds them, all are there and the button is not", () => {
  const training = node();
  addToggle(training, () => {});
  foldAdvanced(training, HOST, WORDS);
  assert.deepEqual(shown(training), ["steps", "alpha", "seed"]);
});

test("a node without the button stays as it is", () => {
  const plain = node();
  assert.equal(foldAdvanced(plain, OWN, WORDS), false);
  assert.deepEqual(shown(plain), ["steps", "alpha", "seed"]);
});

test("the button stands before the picture, whichever of them is made first", () => {
  const late = node();
  late.widgets.push({ name: "picture 1", type: "INCONTEXT_PICTURE", options: {} });
  addToggle(late, () => {});
  assert.deepEqual(late.widgets.map(({ type }) => type), [undefined, undefined, undefined, "button", "INCONTEXT_PICTURE"]); // prettier-ignore
});
