import assert from "node:assert/strict";
import { test } from "node:test";

import { translator } from "../../js/lib/messages.mjs";
import { CHINESE } from "../../js/lib/messages_zh.mjs";

const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort();

test("every sentence is there in Chinese, with values that the English has", () => {
  for (const [english, chinese] of Object.entries(CHINESE)) {
    assert.match(chinese, /\p{Script=Han}/u, english);
    for (const place of places(chinese)) assert.ok(english.includes(place), english);
  }
});

test("a sentence of the server is translated with its values, line by line", () => {
  const translate = translator("zh");
  assert.equal(translate("Stopped at step 340. Resume it from there."), "已在第 340 步停止，可从该处恢复。");
  assert.equal(translate("training\nsomething else"), "训练\nsomething else");
  assert.equal(translate(""), "");
  assert.equal(translate(undefined), undefined);
});

test("no value is taken for a pattern", () => {
  const translate = translator("zh");
  assert.match(translate("a$1{name} is training. Stop it before you delete it."), /^a\$1\{name\} /);
});

test("other languages hear the server as it speaks", () => {
  assert.equal(translator("en")("training"), "training");
  assert.equal(translator(undefined)("training"), "training");
});

test("the choice among checkpoints is said in Chinese, sentence by sentence", () => {
  const translate = translator("zh");
  assert.equal(
    translate(
      "late × 0.8 has the highest consistency of those that meet all guards: 0.505 (0.400 to 0.600). Without a LoRA it is 0.100. " +
        "3 captions are too few to be sure; compare on 4 or more.",
    ),
    "在满足所有条件的候选中，late × 0.8 的 consistency 最高：0.505（0.400 至 0.600）。 不用 LoRA 时为 0.100。 " +
      "3 条提示词太少，无法确定；请用 4 条或更多来比较。",
  );
  assert.equal(
    translate("novelty 0.300; at least 0.500 is required. It repeats training sets."),
    "novelty 0.300；至少需要 0.500。 它重复了训练图组。",
  );
});
