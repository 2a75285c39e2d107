import assert from "node:assert/strict";
import { test } from "node:test";

import { Desk } from "../../js/lib/training/desk.mjs";
import { actionsOf, firstRun, RunState, runOfNode, Series } from "../../js/lib/training/run_state.mjs";

const points = (...steps) => ({
  step: steps,
  loss: steps.map((step) => 1 / step),
  smoothed: steps.map((step) => 2 / step),
  learning_rate: steps.map(() => 1e-4),
});

const answer = (from, offset, steps, events = [], more = false) => ({
  run: { name: "toy", state: "running" },
  layout: null,
  checkpoints: [],
  news: { from, offset, more, points: points(...steps), events },
});

test("points are put together from several answers", () => {
  const state = new RunState("toy");
  assert.equal(state.take(answer(0, 100, [1, 2], [], true)), true);
  assert.equal(state.take(answer(100, 200, [3])), false);
  assert.deepEqual(state.series.step, [1, 2, 3]);
  assert.deepEqual(state.series.loss, [1, 1 / 2, 1 / 3]);
  assert.equal(state.offset, 200);
});

test("another run under the same name replaces what was known", () => {
  const state = new RunState("toy");
  state.take(answer(0, 100, [1, 2, 3], [{ event: "sample", step: 3, file: "step000003.png" }]));
  state.take(answer(0, 40, [1]));
  assert.deepEqual(state.series.step, [1]);
  assert.deepEqual(state.sampleSteps, []);
});

test("what a resumed run did again takes the place of what it had done", () => {
  const series = new Series();
  series.add(points(1, 2, 3, 4, 5));
  series.validation.set(2, 0.5);
  series.validation.set(5, 0.4);
  series.add({ ...points(4, 5, 6), loss: [9, 8, 7] });
  assert.deepEqual(series.step, [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(series.loss.slice(3), [9, 8, 7]);
  assert.deepEqual([...series.validation.keys()], [2]);
});

test("validation stands at its step, also before the first one", () => {
  const state = new RunState("toy");
  const measured = [0, 2, 3].map((step) => ({ event: "validation", step, loss: 1 - step / 10 }));
  state.take(answer(0, 1, [1, 2], [...measured, { event: "validation", step: 2, loss: null }]));
  const [steps, loss, smoothed, validation, rate] = state.series.columns();
  assert.deepEqual(steps, [0, 1, 2, 3]);
  assert.deepEqual(loss, [null, 1, 1 / 2, null]);
  assert.deepEqual(smoothed, [null, 2, 1, null]);
  assert.deepEqual(validation, [1, null, 0.8, 0.7]);
  assert.deepEqual(rate, [null, 1e-4, 1e-4, null]);
});

test("columns that are drawn stay as they are", () => {
  const series = new Series();
  series.add(points(1, 2));
  const [steps, loss] = series.columns();
  series.add(points(3));
  assert.deepEqual([steps, loss], [[1, 2], [1, 1 / 2]]);
});

test("a long run is put together in proportion to its steps", () => {
  const series = new Series();
  const step = Array.from({ length: 300_000 }, (_, index) => index + 1);
  series.add({ step, loss: step, smoothed: step, learning_rate: step });
  for (let measured = 0; measured <= 300_000; measured += 50) series.validation.set(measured, 0.1);
  const started = performance.now();
  const [steps] = series.columns();
  assert.equal(steps.length, 300_001);
  assert.ok(performance.now() - started < 10_000, "looking for each step among all others would take minutes");
});

test("damaged steps are passed over", () => {
  const series = new Series();
  series.add({ step: [1, null, 2], loss: [1, 2, null], smoothed: [1, 2, 3], learning_rate: [0, 0, 0] });
  assert.deepEqual(series.step, [1, 2]);
  assert.deepEqual(series.loss, [1, null]);
});

test("samples are listed by step, the newest first, once each", () => {
  const state = new RunState("toy");
  const sample = (step, file) => ({ event: "sample", step, file });
  state.take(answer(0, 1, [], [sample(5, "b"), sample(5, "a"), sample(10, "c"), sample(5, "a")]));
  assert.deepEqual(state.sampleSteps, [
    { step: 10, files: ["c"] },
    { step: 5, files: ["a", "b"] },
  ]);
});

test("a sample that is written again under its name is another version", () => {
  const state = new RunState("toy");
  const sample = (time) => ({ event: "sample", step: 5, file: "a", time });
  state.take(answer(0, 1, [], [sample(100.5)]));
  state.take(answer(1, 2, [], [sample(200.5)]));
  assert.deepEqual(state.sampleSteps, [{ step: 5, files: ["a"] }]);
  assert.equal(state.versions.get("a"), 200.5);
  const desk = new Desk({ apiURL: (path) => path });
  assert.notEqual(desk.sampleUrl("toy", "a", 100.5), desk.sampleUrl("toy", "a", 200.5));
  assert.equal(desk.sampleUrl("toy", "a b", 7), "/incontext_lora/runs/toy/samples/a%20b?version=7");
});

test("a node shows the newest run of its name, or the one that it resumes", () => {
  const runs = [
    { name: "toy-2", title: "toy", trainer: "sd-scripts" },
    { name: "toy", title: "toy", trainer: "sd-scripts" },
    { name: "toy-3", title: "toy", trainer: "in-host" },
  ];
  assert.equal(runOfNode(runs, { trainer: "sd-scripts", name: "toy", resume: "none" }), runs[0]);
  assert.equal(runOfNode(runs, { trainer: "sd-scripts", name: "toy", resume: "toy" }), runs[1]);
  assert.equal(runOfNode(runs, { trainer: "in-host", name: "toy" }), runs[2]);
  assert.equal(runOfNode(runs, { trainer: "in-host", name: "other" }), undefined);
});

test("a run that runs is shown first", () => {
  const [newer, running] = [{ state: "finished" }, { state: "running" }];
  assert.equal(firstRun([newer, running]), running);
  assert.equal(firstRun([newer]), newer);
  assert.equal(firstRun([]), undefined);
});

test("what can be asked depends on the state", () => {
  const running = { state: "running", trainer: "sd-scripts" };
  assert.deepEqual(actionsOf(running, false), ["stop", "save", "sample"]);
  assert.deepEqual(actionsOf(running, true), ["stop", "end"]);
  assert.deepEqual(actionsOf({ state: "running", trainer: "in-host" }, true), ["stop", "save", "sample"]);
  assert.deepEqual(actionsOf({ state: "cancelled", resumable: true }, false), ["resume"]);
  assert.deepEqual(actionsOf({ state: "failed", resumable: false }, false), []);
});

test("notes belong to the run since it was last started", () => {
  const state = new RunState("run");
  const note = (text) => ({ event: "note", text });
  state.take(answer(0, 1, [], [{ event: "started" }, note("a sample did not fit"), note("")]));
  assert.deepEqual(state.notes, ["a sample did not fit"]);
  state.take(answer(1, 2, [], [{ event: "started" }]));
  assert.deepEqual(state.notes, []);
});

test("what was asked for is done when an event that is later says so", () => {
  const state = new RunState("run");
  state.take(answer(0, 1, [1]));
  state.asked.set("save", 100).set("sample", 100);
  state.take(answer(1, 2, [2], [{ event: "checkpoint", step: 2, time: 99.9 }])); // it was due, and not asked for
  assert.deepEqual(state.done, []);
  state.take(answer(2, 3, [3], [{ event: "checkpoint", step: 3, time: 100 }]));
  assert.deepEqual(state.done.splice(0), [{ what: "save", step: 3 }]);
  assert.deepEqual([...state.asked.keys()], ["sample"]);
  state.take(answer(3, 4, [4], [{ event: "sample", step: 4, file: "a", time: 105 }]));
  assert.deepEqual(state.done.splice(0), [{ what: "sample", step: 4 }]);
});

test("a stop is done when the run has ended, and nothing else is waited for then", () => {
  const state = new RunState("run");
  state.take(answer(0, 1, [1]));
  state.asked.set("stop", 100).set("sample", 100);
  state.take({ ...answer(1, 2, [2]), run: { state: "cancelled", step: 2 } });
  assert.deepEqual(state.done, [{ what: "stop", step: 2 }]);
  assert.equal(state.asked.size, 0);
});

test("another run under the same name was asked for nothing", () => {
  const state = new RunState("run");
  state.take(answer(0, 100, [1]));
  state.asked.set("save", 100);
  state.take(answer(0, 1, [1], [{ event: "checkpoint", step: 1, time: 200 }]));
  assert.deepEqual(state.done, []);
});
