import assert from "node:assert/strict";
import { test } from "node:test";

import { statusOf } from "../../js/lib/gallery/gallery.mjs";
import { freePanel } from "../../js/lib/gallery/place.mjs";
import { SetList, captionPieces, factsOf, panelName, perRow, timeAgo, titleOf } from "../../js/lib/gallery/sets.mjs";
import { wordsOf } from "../../js/lib/gallery/words.mjs";
import { Refusal, postJson } from "../../js/lib/server.mjs";

const words = wordsOf("en");

/** An api that answers with what `answer` makes of an address. */
const apiOf = (answer) => {
  const asked = [];
  return {
    asked,
    fetchApi: async (path, options) => {
      asked.push(path);
      const [value, status = 200] = answer(new URL(path, "http://x"), options);
      return { ok: status < 400, status, statusText: "", json: async () => value };
    },
  };
};
const made = (id, more = {}) => ({ id, name: `${id}_`, stamp: "1", scores: [], loras: [], panels: [], ...more });
const page = (ids, more = {}) => ({ sets: ids.map((id) => made(id)), more: false, total: ids.length, unread: 0, bare: 0, ...more });

test("pages follow each other, and no set is shown twice", async () => {
  const api = apiOf(({ searchParams }) => [
    searchParams.get("after") === "b" ? page(["b", "c"], { total: 3 }) : page(["a", "b"], { more: true, total: 3 }),
  ]);
  const list = new SetList(api, () => {});
  await list.look();
  await list.lookFurther();
  await list.lookFurther(); // there is nothing more
  assert.deepEqual(list.sets.map(({ id }) => id), ["a", "b", "c"]);
  assert.equal(api.asked.length, 2);
});

test("a set that is new leaves all those in place that were shown, however many the server gives at once", async () => {
  let ids = Array.from({ length: 450 }, (_, number) => `s${number}`);
  const api = apiOf(({ searchParams }) => {
    const start = ids.indexOf(searchParams.get("after")) + 1;
    const end = start + Math.min(200, Number(searchParams.get("limit")));
    return [page(ids.slice(start, end), { more: end < ids.length, total: ids.length })];
  });
  const list = new SetList(api, () => {});
  await list.look();
  while (list.more) await list.lookFurther();
  ids = ["new", ...ids];
  await list.look();
  assert.equal(list.sets.length, 450);
  assert.equal(list.sets[0].id, "new");
  assert.equal(list.more, true);
});

test("files that are unread are asked for until none is", async () => {
  let unread = 2;
  const api = apiOf(() => [page(["a"], { unread: unread-- })]);
  const done = new Promise((resolve) => {
    const list = new SetList(api, () => list.unread === 0 && resolve());
    list.look();
  });
  await done;
  assert.equal(api.asked.length, 3);
});

test("once nobody looks, the answer that was under way leads to no further question", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  for (const begin of [(list) => list.look(), (list) => list.lookFurther()]) {
    const waiting = [];
    const asked = [];
    const api = {
      fetchApi: (path) => {
        asked.push(path);
        return new Promise((resolve) => waiting.push(() => resolve({ ok: true, json: async () => page(["a"], { unread: 5, more: true }) })));
      },
    };
    let news = 0;
    const list = new SetList(api, () => news++);
    list.more = true;
    const looking = begin(list);
    list.rest();
    waiting[0]();
    await looking;
    t.mock.timers.tick(10_000);
    assert.equal(asked.length, 1);
    assert.equal(news, 0);
  }
});

test("the answer to an earlier question does not replace a later one", async () => {
  const waiting = [];
  const api = {
    fetchApi: (path) =>
      new Promise((resolve) =>
        waiting.push(() => resolve({ ok: true, json: async () => page([path.includes("text=new") ? "new" : "old"]) })),
      ),
  };
  const list = new SetList(api, () => {});
  const first = list.look();
  const second = list.find("new");
  waiting[1]();
  waiting[0]();
  await Promise.all([first, second]);
  assert.deepEqual(list.sets.map(({ id }) => id), ["new"]);
});

test("a server that does not answer is said, and what is shown stays", async () => {
  let isUp = true;
  const list = new SetList(
    {
      fetchApi: async () => {
        if (!isUp) throw new TypeError("fetch");
        return { ok: true, json: async () => page(["a"]) };
      },
    },
    () => {},
  );
  assert.equal(statusOf(list, words), words.loading);
  await list.look();
  assert.equal(statusOf(list, words), "Sets: 1");
  isUp = false;
  await list.look();
  assert.equal(statusOf(list, words), words.noAnswer);
  assert.equal(list.sets.length, 1);
});

test("a refusal is what the server said", async () => {
  const api = apiOf(() => [{ error: "No space." }, 400]);
  await assert.rejects(postJson(api, "/sets/x/dataset", {}), (error) => error instanceof Refusal && error.message === "No space.");
});

test("panels stand in full rows, and none is too low", () => {
  const panels = (count, width, height) => Array.from({ length: count }, () => ({ box: [0, 0, width, height] }));
  assert.equal(perRow(panels(3, 64, 64)), 3);
  assert.equal(perRow(panels(4, 64, 64)), 4);
  assert.equal(perRow(panels(9, 64, 64)), 3);
  assert.equal(perRow(panels(3, 1024, 512)), 2);
  assert.equal(perRow(panels(3, 1600, 200)), 1);
  assert.equal(perRow(panels(1, 512, 0)), 1);
});

test("markers of a caption stand apart, counted in code points", () => {
  const caption = "🦊 [A] one [B]";
  assert.deepEqual(captionPieces({ caption, marks: [[2, 5], [10, 13]] }), [
    { isMark: false, text: "🦊 " },
    { isMark: true, text: "[A]" },
    { isMark: false, text: " one " },
    { isMark: true, text: "[B]" },
  ]);
  assert.deepEqual(captionPieces({ caption: "", marks: [] }), []);
});

test("facts are those that are there", () => {
  const score = { mean: 0.913, lowest: 0.5, caption: null, measure: "m" };
  const set = made("a", { loras: [{ name: "style/hero.safetensors", strength: 0.8 }], scores: [score] });
  assert.deepEqual(factsOf(set, words).map(({ text }) => text), ["hero × 0.8", "alike 0.91"]);
  assert.deepEqual(factsOf(made("a"), words), []);
  assert.deepEqual(factsOf(made("a", { scores: [{ ...score, caption: 0.3 }] }), words).map(({ text }) => text), ["alike 0.91", "caption 0.30"]);
});

test("a set is called by its task, else by its file", () => {
  assert.equal(titleOf(made("set", { recipe: { name: "custom", title: "Custom layout" } }), words), "set");
  assert.equal(titleOf(made("set", { recipe: { name: "film", title: "Film" } }), words), "Film");
  assert.equal(titleOf(made("set", { recipe: null }), words), "set");
  assert.equal(panelName({ panels: [{ marker: "", name: "LEFT" }] }, 0), "LEFT");
});

test("times are told as people tell them", () => {
  assert.equal(timeAgo(100, 100, "en"), "now");
  assert.equal(timeAgo(100, 160, "en"), "1 min. ago");
  assert.equal(timeAgo(0, 7200, "en"), "2 hr. ago");
  assert.match(timeAgo(0, 1e9, "en"), /1970/);
});

test("the first panel without a picture is free", () => {
  const inputs = [{ name: "layout", link: null }, { name: "panel_1", link: 3 }, { name: "mask_2", link: null }, { name: "panel_2", link: null }];
  assert.equal(freePanel({ inputs }).name, "panel_2");
  assert.equal(freePanel({ inputs: inputs.slice(0, 3) }), undefined);
});
