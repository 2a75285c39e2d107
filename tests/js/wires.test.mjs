import assert from "node:assert/strict";
import { test } from "node:test";

import { WIRE_COLOURS, colourTable, slotRules } from "../../js/lib/wires.mjs";

/** Node and canvas colours, and colours of core types, of ComfyUI's default palettes. */
const THEMES = [
  {
    behind: ["#353535", "#141414", "#262729"],
    core: "#ffd500 #a8dadc #ad7452 #ffa931 #6ee7b7 #64b5f6 #ff9cf9 #81c784 #b39ddb #c2ffae #ff6e6e #b0b0b0 #66ffff #ecb4b4",
  },
  {
    behind: ["#f5f5f5", "#d3d3d3", "#ffffff"],
    core: "#ffa726 #5c6bc0 #8d6e63 #ef5350 #66bb6a #42a5f5 #ab47bc #9ccc65 #7e57c2 #d4e157 #ff7043 #b0b0b0 #66ffff #ecb4b4",
  },
];

const linear = (colour) =>
  [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));

function contrast(one, other) {
  const luminance = (colour) => linear(colour).reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** OKLab, in which distances are about as eyes see them; 0.02 is just noticeable. */
function oklab(colour) {
  const [r, g, b] = linear(colour);
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

const distance = (one, other) => Math.hypot(...oklab(one).map((part, index) => part - oklab(other)[index]));

test("every colour stands out from what lies behind it, from core's colours and from the others", () => {
  for (const [theme, { behind, core }] of THEMES.entries()) {
    const ours = Object.entries(WIRE_COLOURS).map(([type, shades]) => ({ type, colour: shades[theme] }));
    for (const { type, colour } of ours) {
      for (const other of behind) assert.ok(contrast(colour, other) >= 3, `${type} ${colour} on ${other}`);
      for (const other of core.split(" ")) assert.ok(distance(colour, other) > 0.09, `${type} ${colour} like ${other}`);
      for (const other of ours) {
        if (other.type !== type) assert.ok(distance(colour, other.colour) > 0.09, `${type} like ${other.type}`);
      }
    }
  }
});

test("a palette that knows no such type leaves the colours; one of its own is used", () => {
  let isDark = true;
  const table = { IMAGE: "#64B5F6" };
  colourTable(table, () => isDark);
  assert.equal(table.INCONTEXT_RUN, WIRE_COLOURS.INCONTEXT_RUN[0]);
  Object.assign(table, { INCONTEXT_RUN: "", IMAGE: "#42A5F5" }); // as ComfyUI does when a palette is chosen
  isDark = false;
  assert.equal(table.INCONTEXT_RUN, WIRE_COLOURS.INCONTEXT_RUN[1]);
  assert.equal(table.IMAGE, "#42A5F5");
  Object.assign(table, { INCONTEXT_RUN: "#123456" });
  assert.equal(table.INCONTEXT_RUN, "#123456");
  assert.equal({ ...table }.INCONTEXT_RUN, "#123456");
});

test("slots have the colours of their wires", () => {
  for (const [type, [dark, light]] of Object.entries(WIRE_COLOURS)) {
    const [first, second] = slotRules().split("}");
    assert.ok(first.includes(`:root`) && first.includes(`--color-datatype-${type}: ${light};`));
    assert.ok(second.includes(".dark-theme") && second.includes(`--color-datatype-${type}: ${dark};`));
  }
});
