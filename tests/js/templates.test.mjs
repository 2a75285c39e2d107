import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { listTemplates, translateWorkflow } from "../../js/lib/templates.mjs";

const at = (path) => new URL(`../../${path}`, import.meta.url);
const read = (path) => JSON.parse(readFileSync(at(path), "utf8"));
const LISTED = read("js/templates/index.json");
const CHINESE = read("js/templates/zh.json");
const FILES = readdirSync(at("workflows")).filter((name) => name.endsWith(".json"));
const PACK = "incontext-lora";

/** As ComfyUI's: it asks itself again in English for a language that it has no templates in. */
class Api {
  async getWorkflowTemplates() {
    return { other: ["a"], [PACK]: [...LISTED.map(({ name }) => name).reverse(), "of-my-own"] };
  }
  async getCoreWorkflowTemplates(locale) {
    if (locale && locale !== "en") return this.getCoreWorkflowTemplates();
    return [{ moduleName: "default", title: "Core", templates: [] }];
  }
}

test("every template is listed once, with what it is found by", () => {
  assert.deepEqual(LISTED.map(({ name }) => `${name}.json`).sort(), FILES.sort());
  assert.deepEqual(LISTED.slice(0, 3).map(({ name }) => name), ["quickstart", "reference-panel", "repaint-panel"]); // prettier-ignore
  for (const { name, title, description, tags, models, zh } of LISTED) {
    assert.ok(title && description.endsWith(".") && zh.title && zh.description.endsWith("。"), name);
    assert.equal(tags[0], "In-Context LoRA", name);
    assert.ok(tags.length > 1 && Array.isArray(models), name);
  }
  assert.equal(new Set(LISTED.map(({ title }) => title)).size, LISTED.length);
});

for (const [locale, text] of [["en", "title"], ["zh", "zh"], ["fr", "title"]]) // prettier-ignore
  test(`templates come in their order, with titles, in ${locale}`, async () => {
    const api = new Api();
    listTemplates(api, PACK, async () => LISTED);
    assert.deepEqual(await api.getWorkflowTemplates(), { other: ["a"], [PACK]: ["of-my-own"] });
    const categories = await api.getCoreWorkflowTemplates(locale);
    assert.deepEqual(categories.map(({ moduleName }) => moduleName), ["default", PACK]); // prettier-ignore
    const [, { templates }] = categories;
    assert.deepEqual(templates.map(({ name }) => name), LISTED.map(({ name }) => name)); // prettier-ignore
    assert.equal(templates[0].title, text === "zh" ? LISTED[0].zh.title : LISTED[0].title);
  });

test("without the list, templates show as ComfyUI shows them", async () => {
  const api = new Api();
  listTemplates(api, PACK, async () => []);
  assert.deepEqual(await api.getWorkflowTemplates(), await new Api().getWorkflowTemplates());
  assert.equal((await api.getCoreWorkflowTemplates("en")).length, 1);
});

test("every template's own text has Chinese", () => {
  const untranslated = [];
  for (const file of FILES) {
    const workflow = read(`workflows/${file}`);
    const english = JSON.stringify(workflow);
    translateWorkflow(workflow, CHINESE);
    assert.notEqual(JSON.stringify(workflow), english, file);
    const notes = workflow.nodes.filter(({ type }) => type === "MarkdownNote").flatMap((node) => node.widgets_values[0].split("\n"));
    const titles = [...workflow.groups, ...workflow.nodes].map(({ title }) => title).filter(Boolean);
    for (const text of [...notes.filter((line) => line.trim() && !line.startsWith("   - ")), ...titles])
      if (!/[\u4e00-\u9fff]/.test(text)) untranslated.push([file, text]);
  }
  assert.deepEqual(untranslated, []);
});

test("what somebody wrote stays", () => {
  const mine = { groups: [{ title: "Mine" }], nodes: [{ type: "MarkdownNote", title: "Mine", widgets_values: ["My words\n\n*x*"] }, { type: "KSampler" }] };
  const before = JSON.stringify(mine);
  translateWorkflow(mine, CHINESE);
  assert.equal(JSON.stringify(mine), before);
});
