import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { labelNode, translateDefinition } from "../../js/lib/language.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`../../locales/zh/${name}.json`, import.meta.url), "utf8"));
const TEXTS = { ...read("main"), nodeDefs: read("nodeDefs") };

const definition = () => ({
  name: "InContextStitchPanels",
  display_name: "Stitch Panels",
  description: "Put images on one canvas.",
  category: "in-context lora/panels",
  input: { required: { layout: ["INCONTEXT_LAYOUT", { tooltip: "Where." }], fit: [["cover"]] }, optional: { new: ["INT"] } },
  output: ["IMAGE", "MASK", "OTHER", "OTHER", "OTHER"],
  output_name: ["canvas", "mask", "a", "b", "c"],
  output_tooltips: ["The canvas.", "The mask.", null, null, "Kept."],
});

test("a definition gets the texts of its node, and keeps its names", () => {
  const translated = definition();
  translateDefinition(translated, TEXTS);
  const node = TEXTS.nodeDefs.InContextStitchPanels;
  assert.equal(translated.display_name, node.display_name);
  assert.equal(translated.description, node.description);
  assert.equal(translated.category, "In-Context LoRA/分格");
  assert.equal(translated.input.required.layout[1].tooltip, node.inputs.layout.tooltip);
  assert.equal(translated.input.required.fit[1].tooltip, node.inputs.fit.tooltip);
  assert.deepEqual(translated.input.optional.new, ["INT"]);
  assert.deepEqual(translated.output_name, definition().output_name);
  assert.equal(translated.output_tooltips[0], node.outputs[0].tooltip);
  assert.equal(translated.output_tooltips[4], "Kept.");
});

test("without texts a definition stays as it is", () => {
  for (const texts of [{}, { nodeDefs: { Other: { display_name: "x" } } }]) {
    const untouched = definition();
    translateDefinition(untouched, texts);
    assert.deepEqual(untouched, definition());
  }
});

test("a node shows the names of its language, and sends its own", () => {
  const node = {
    comfyClass: "InContextStitchPanels",
    widgets: [{ name: "fit" }, { name: "layout_picture" }],
    inputs: [{ name: "layout", localized_name: "layout" }, { name: "fit", widget: { name: "fit" } }, { name: "new", localized_name: "new" }],
    outputs: [{ name: "canvas" }],
  };
  labelNode(node, TEXTS);
  const { inputs, outputs } = TEXTS.nodeDefs.InContextStitchPanels;
  assert.deepEqual(node.widgets, [{ name: "fit", label: inputs.fit.name }, { name: "layout_picture" }]);
  assert.deepEqual(node.inputs.map((input) => [input.name, input.localized_name]), [
    ["layout", inputs.layout.name], ["fit", inputs.fit.name], ["new", "new"],
  ]); // prettier-ignore
  assert.equal(node.outputs[0].localized_name, outputs[0].name);
  assert.equal(node.outputs[0].name, "canvas");
});

test("a choice is shown in the language, and sent as it is", () => {
  const node = {
    comfyClass: "InContextStitchPanels",
    widgets: [{ name: "fit", value: "contain", options: { values: ["cover", "contain", "mine.safetensors"] } }, { name: "gutter", options: {} }],
    inputs: [],
    outputs: [],
  };
  labelNode(node, TEXTS);
  const [fit, gutter] = node.widgets;
  assert.deepEqual(fit.options.values.map(fit.options.getOptionLabel), ["填满裁切", "完整显示", "mine.safetensors"]);
  assert.equal(fit.options.getOptionLabel(null), "");
  assert.equal(fit.value, "contain");
  assert.equal(gutter.options.getOptionLabel, undefined);
  const english = { comfyClass: "InContextStitchPanels", widgets: [{ name: "fit", options: { values: ["cover"] } }] };
  labelNode(english, {});
  assert.equal(english.widgets[0].options.getOptionLabel, undefined);
});
