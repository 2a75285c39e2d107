import assert from "node:assert/strict";
import { test } from "node:test";

import { Recipes } from "../../js/lib/server.mjs";

const TASKS = { "film-storyboard": { name: "film-storyboard" } };
const answer = (status, content) => ({ ok: status < 400, status, json: async () => content });

/** A server that gives these answers in turn, the last one for ever; an error stands for no answer. */
function server(...answers) {
  const asked = [];
  const fetchApi = async (path) => {
    asked.push(path);
    const next = answers.length > 1 ? answers.shift() : answers[0];
    if (next instanceof Error) throw next;
    return next;
  };
  return { fetchApi, asked };
}

/** Looks for a task as the interface does: at once, and whenever there is news; resolves when it is known. */
function whenKnown(api, name) {
  return new Promise((resolve) => {
    const recipes = new Recipes(api, () => look(), 1);
    const look = () => recipes.task(name) !== undefined && resolve(recipes);
    look();
  });
}

for (const [what, failure] of [
  ["no answer", new TypeError("Failed to fetch")],
  ["a failing server", answer(503, {})],
]) {
  test(`after ${what} recipes are asked for again`, async () => {
    const api = server(failure, failure, answer(200, TASKS));
    const recipes = await whenKnown(api, "film-storyboard");
    assert.equal(recipes.task("film-storyboard").name, "film-storyboard");
    assert.deepEqual(api.asked, ["/incontext_lora/recipes", "/incontext_lora/recipes", "/incontext_lora/recipes"]);
  });
}

test("a question is asked once, however often its answer is needed", async () => {
  const api = server(answer(200, TASKS));
  const recipes = new Recipes(api, () => {});
  for (let times = 0; times < 5; times++) assert.equal(recipes.task("film-storyboard"), undefined);
  await recipes.settled();
  assert.ok(recipes.task("film-storyboard"));
  assert.equal(recipes.task("other"), undefined);
  assert.equal(api.asked.length, 1);
});

test("while the server is silent it is not asked in a loop", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const api = server(new TypeError("Failed to fetch"));
  const recipes = new Recipes(api, () => {}, 60_000);
  recipes.task("film-storyboard");
  await recipes.settled();
  for (let times = 0; times < 5; times++) recipes.task("film-storyboard");
  await recipes.settled();
  assert.equal(api.asked.length, 1);
  recipes.forget();
  recipes.task("film-storyboard");
  assert.equal(api.asked.length, 2);
});

test("a LoRA's refusal is not repeated until files may have changed", async () => {
  const api = server(answer(400, { error: "cut short" }), answer(200, { recipe: { name: "rooms" } }));
  const recipes = new Recipes(api, () => {}, 1);
  assert.equal(recipes.lora("a b.safetensors"), undefined);
  await recipes.settled();
  assert.equal(recipes.lora("a b.safetensors"), null);
  assert.deepEqual(api.asked, ["/incontext_lora/lora_recipe?name=a%20b.safetensors"]);
  recipes.forget();
  assert.equal(recipes.lora("a b.safetensors"), null); // what was known stays until there is news
  await recipes.settled();
  assert.equal(recipes.lora("a b.safetensors").name, "rooms");
});

test("a recipe stays known while it is asked for again, also where nobody answers", async () => {
  const api = server(answer(200, { recipe: { name: "rooms" } }), new TypeError("Failed to fetch"));
  const recipes = new Recipes(api, () => {}, 60_000);
  recipes.lora("a.safetensors");
  await recipes.settled();
  recipes.forget();
  assert.equal(recipes.lora("a.safetensors").name, "rooms");
  await recipes.settled();
  assert.equal(recipes.lora("a.safetensors").name, "rooms");
  assert.equal(api.asked.length, 2);
});
