import assert from "node:assert/strict";
import { test } from "node:test";

import { resumingPrompt } from "../../js/lib/training/resume.mjs";

const TRAIN = "InContextTrainLoraInHost";
const prompt = {
  1: { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a" } },
  2: { class_type: "InContextBuildDataset", inputs: { folder: "sets" } },
  "7:3": { class_type: TRAIN, inputs: { model: ["1", 0], dataset: ["2", 0], name: "toys", resume: "none" } },
  4: { class_type: TRAIN, inputs: { model: ["1", 0], dataset: ["2", 0], name: "other" } },
  5: { class_type: "SaveImage", inputs: { images: ["7:3", 4] } },
};

test("only the training of the run's name is resumed, with what it needs", () => {
  const kept = resumingPrompt(prompt, { name: "toys-2", title: "toys" });
  assert.deepEqual(Object.keys(kept).sort(), ["1", "2", "7:3"]);
  assert.equal(kept["7:3"].inputs.resume, "toys-2");
  assert.equal(prompt["7:3"].inputs.resume, "none");
});

test("a training of another name is taken where there is no other", () => {
  const { "7:3": _, ...without } = prompt;
  assert.equal(resumingPrompt(without, { name: "toys", title: "toys" })[4].inputs.resume, "toys");
});

test("without a training node nothing is resumed", () => {
  assert.equal(resumingPrompt({ 1: prompt[1] }, { name: "toys", title: "toys" }), null);
});

test("a link that leads in a circle or nowhere ends", () => {
  const odd = { 4: { class_type: TRAIN, inputs: { model: ["4", 0], clip: ["9", 0], name: "x" } } };
  assert.deepEqual(Object.keys(resumingPrompt(odd, { name: "x", title: "x" })), ["4"]);
});
