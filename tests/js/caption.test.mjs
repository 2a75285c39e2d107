import assert from "node:assert/strict";
import { test } from "node:test";

import { isJoint, meter, panelTexts, pieces, rest, wildcardsIn, writtenTexts } from "../../js/lib/caption.mjs";

const CAPTION = "[FILM] a day [A] dawn [B] noon";
const MARKS = [[0, 6], [13, 16], [22, 25]];
const clip = (cut) => ({ encoder: "clip_l", count: 90, limit: 77, cut });
const t5 = (cut) => ({ encoder: "t5xxl", count: 90, limit: 512, cut });

test("marks and text take turns, and nothing is lost", () => {
  const found = pieces({ caption: CAPTION, marks: MARKS, tokens: [clip(null), t5(null)] });
  assert.deepEqual(found.map((piece) => piece.kind), ["mark", "text", "mark", "text", "mark", "text"]);
  assert.equal(found.map((piece) => piece.text).join(""), CAPTION);
});

test("limits stand where they fall, also at a mark", () => {
  for (const cut of [1, 7, 13, 26]) {
    const found = pieces({ caption: CAPTION, marks: MARKS, tokens: [clip(cut), t5(null)] });
    const at = found.findIndex((piece) => piece.kind === "limit");
    assert.deepEqual(found[at], { kind: "limit", encoder: "CLIP-L", limit: 77 });
    assert.equal(found.slice(0, at).map((piece) => piece.text).join("").length, cut);
    assert.equal(found.map((piece) => piece.text ?? "").join(""), CAPTION);
  }
  const both = pieces({ caption: CAPTION, marks: [], tokens: [t5(9), clip(7)] });
  assert.deepEqual(both.map((piece) => piece.limit ?? piece.text), ["[FILM] ", 77, "a ", 512, CAPTION.slice(9)]);
  assert.deepEqual(pieces({ caption: "", marks: [], tokens: [] }), []);
});

test("places are counted in code points, as the server does", () => {
  const caption = "[FILM] a 🎈🎈 day [A] 👩‍🚀 dawn [B] noon";
  const letters = [...caption];
  const at = (mark) => [...caption.slice(0, caption.indexOf(mark))].length;
  const marks = ["[FILM]", "[A]", "[B]"].map((mark) => [at(mark), at(mark) + mark.length]);
  const cut = at("noon");
  const found = pieces({ caption, marks, tokens: [clip(cut)] });
  const shown = found.filter((piece) => piece.kind === "mark").map((piece) => piece.text);
  assert.deepEqual(shown, ["[FILM]", "[A]", "[B]"]);
  assert.equal(found.map((piece) => piece.text ?? "").join(""), caption);
  assert.equal(found.at(-2).kind, "limit");
  assert.equal(found.at(-1).text, "noon");
  assert.equal(rest(caption, cut), "noon");
  assert.equal(rest("🎈".repeat(40), 0), `${"🎈".repeat(23)}…`);
  assert.ok(letters.length < caption.length);
});

test("a meter shows the limit within its length", () => {
  assert.deepEqual(meter({ count: 77, limit: 77 }), { filled: 0.8, limit: 0.8, isOver: false });
  assert.deepEqual(meter({ count: 154, limit: 77 }), { filled: 1, limit: 0.5, isOver: true });
  assert.deepEqual(meter({ count: 5, limit: null }), { filled: 1, limit: null, isOver: false });
});

test("what is behind a limit is shortened", () => {
  assert.equal(rest("one two", 4), "two");
  assert.equal(rest(`x ${"word ".repeat(20)}`, 2), "word word word word word…".slice(0, 23) + "…");
});

test("a whole caption has every marker", () => {
  assert.ok(isJoint(CAPTION, ["[A]", "[B]"]));
  assert.ok(isJoint("\\(a\\) one \\(b\\) two", ["(a)", "(b)"]));
  assert.ok(!isJoint(CAPTION, ["[A]", "[B]", "[C]"]));
  assert.ok(!isJoint("[A] alone", ["[A]"]));
  assert.ok(!isJoint("", []));
});

test("a joined emoji stays whole where a text is shortened", () => {
  const astronaut = "👩‍🚀";
  assert.equal(rest(astronaut.repeat(40), 0), `${astronaut.repeat(23)}…`);
  assert.equal(rest(astronaut.repeat(24), 0), astronaut.repeat(24));
  assert.equal(rest("🇫🇷".repeat(30), 0), `${"🇫🇷".repeat(23)}…`);
});

test("nine panels have widgets of their own, the texts of the others are lines of one", () => {
  const values = { summary: "s", panel_1: "one", more_panels: "ten\r\n\ntwelve" };
  assert.deepEqual(panelTexts(values), ["one", "", "", "", "", "", "", "", "", "ten", "", "twelve"]);
  assert.equal(panelTexts({}).length, 9);
  assert.deepEqual(writtenTexts(values, { summary: "t", panel_2: "a\nb" }), { summary: "t", panel_2: "a\nb" });
  assert.deepEqual(writtenTexts(values, { panel_11: "e\nf", panel_14: "n" }), { more_panels: "ten\ne f\ntwelve\n\nn" });
});

test("what is written into fields is what they then show", () => {
  const texts = Object.fromEntries(Array.from({ length: 256 }, (_, index) => [`panel_${index + 1}`, `text ${index}`]));
  assert.deepEqual(panelTexts(writtenTexts({}, texts)), Object.values(texts));
});

test("a wildcard has a bar between its braces", () => {
  for (const text of ["{a|b}", "x {|b} y", "{a {b|c} d}", "{a|{b} c}"]) assert.ok(wildcardsIn(text).isDrawn, text);
  for (const text of ["", "{a}", "a|b", "{a} | {b}", "\\{a|b\\}", "{a\\|b}"]) assert.ok(!wildcardsIn(text).isDrawn, text);
});

test("a wildcard that is never closed is found where it begins", () => {
  for (const [text, unclosed] of [
    ["a {red|blue kite", "{red|blue kite"],
    ["{a|b} and {c|", "{c|"],
    ["{a|{b|c} d", "{a|{b|c} d"],
    ["{a {b|c", "{b|c"],
  ]) assert.equal(wildcardsIn(text).unclosed, unclosed);
  for (const text of ["", "{a|b}", "{a", "a|b", "{a {b|c}", "\\{a|b", "{a\\|b"]) assert.equal(wildcardsIn(text).unclosed, "", text);
});
