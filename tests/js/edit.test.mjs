import assert from "node:assert/strict";
import { test } from "node:test";

import {
  borders,
  dragBorder,
  dropPanel,
  fittingGutter,
  moveBorder,
  moveGap,
  panelAt,
  swapPanels,
} from "../../js/lib/edit.mjs";
import { bottom, custom, divide, layoutOf, nested, overlap, right } from "../../js/lib/layout.mjs";

const inner = (layout, axis) => borders(layout).filter((border) => border.axis === axis && border.after.length);
const edge = (layout, axis) => borders(layout).find((border) => border.axis === axis && !border.after.length);

function assertTiles(layout, step = 16) {
  for (const [index, box] of layout.boxes.entries()) {
    assert.ok(box.left >= 0 && box.top >= 0 && right(box) <= layout.width && bottom(box) <= layout.height);
    assert.equal(box.width % step, 0);
    assert.equal(box.height % step, 0);
    assert.ok(box.width >= 16 && box.height >= 16);
    assert.ok(!layout.boxes.some((other, number) => number < index && overlap(box, other)));
  }
}

test("a border in a row of three moves two panels", () => {
  const layout = nested(768, 256, [3], 0, 16);
  const [first, second] = inner(layout, "x");
  assert.deepEqual([first.position, first.before, first.after], [256, [0], [1]]);
  assert.deepEqual([second.position, second.before, second.after], [512, [1], [2]]);
  const moved = moveBorder(layout, first, 70, 16);
  assert.deepEqual(moved.boxes.map((box) => [box.left, box.width]), [[0, 320], [320, 192], [512, 256]]);
  assertTiles(moved);
});

test("a border across a grid moves every panel along it, or only those at one place", () => {
  const layout = nested(512, 512, [2, 2], 16, 8);
  const [line, ...others] = inner(layout, "x");
  assert.equal(others.length, 0);
  assert.deepEqual([line.gap, line.from, line.to, line.before, line.after], [16, 0, 512, [0, 2], [1, 3]]);
  assertTiles(moveBorder(layout, line, -33, 8), 8);
  const apart = borders(layout, true).filter((border) => border.axis === "x" && border.after.length);
  assert.deepEqual(apart.map((border) => [border.before, border.after]), [[[0], [1]], [[2], [3]]]);
  assertTiles(moveBorder(layout, apart[1], 64, 8), 8);
});

test("borders in one line are two where a panel lies across", () => {
  const layout = custom(384, 384, [
    { left: 0, top: 0, width: 192, height: 128 },
    { left: 192, top: 0, width: 192, height: 128 },
    { left: 0, top: 128, width: 384, height: 128 },
    { left: 0, top: 256, width: 192, height: 128 },
    { left: 192, top: 256, width: 192, height: 128 },
  ]);
  assert.deepEqual(inner(layout, "x").map((border) => border.before), [[0], [3]]);
});

test("one wide panel above two has one border below it", () => {
  const layout = nested(512, 768, [1, 2], 0, 16);
  const lines = inner(layout, "y");
  assert.equal(lines.length, 1);
  assert.deepEqual([lines[0].before, lines[0].after, lines[0].from, lines[0].to], [[0], [1, 2], 0, 512]);
  const moved = moveBorder(layout, lines[0], 1000, 16);
  assert.deepEqual(moved.boxes.map((box) => box.height), [752, 16, 16]);
  assertTiles(moved);
});

test("no drag makes a panel too small, whatever its length", () => {
  for (const gutter of [0, 16]) {
    const layout = nested(1024, 704, [1, 2, 3], gutter, 16);
    for (const border of borders(layout)) {
      for (const delta of [-5000, -100, -7, 0, 7, 100, 5000]) {
        const moved = moveBorder(layout, border, delta, 16);
        assertTiles(moved);
        assert.equal(moved.width % 64, 0);
        assert.equal(moved.height % 64, 0);
      }
    }
  }
});

test("a drag of nothing changes nothing", () => {
  const layout = nested(1024, 704, [1, 2], 16, 16);
  for (const border of borders(layout)) assert.deepEqual(moveBorder(layout, border, 3, 16), layout);
});

test("the edge of the canvas snaps to 64 and takes the panels at it along", () => {
  const layout = nested(512, 512, [2], 0, 16);
  const wider = moveBorder(layout, edge(layout, "x"), 90, 16);
  assert.deepEqual([wider.width, wider.boxes[0].width, wider.boxes[1].width], [576, 256, 320]);
  const narrowest = moveBorder(layout, edge(layout, "x"), -5000, 16);
  assert.deepEqual([narrowest.width, narrowest.boxes[1].width], [320, 64]);
});

test("a gutter opens and closes", () => {
  const layout = nested(512, 256, [2], 0, 16);
  const [line] = inner(layout, "x");
  const open = moveGap(layout, line, 20, 16);
  assert.deepEqual(open.boxes.map((box) => [box.left, box.width]), [[0, 256], [272, 240]]);
  const [opened] = inner(open, "x");
  assert.equal(opened.gap, 16);
  assert.deepEqual(moveGap(open, opened, -999, 16), layout);
});

test("the nearest gutter that divides evenly is taken", () => {
  const make = (gutter) => divide(768, 3, gutter, 16, "rows");
  assert.equal(fittingGutter(make, 0), 0);
  assert.equal(fittingGutter(make, 5), 8);
  assert.equal(fittingGutter(make, -40), 0);
  assert.equal(fittingGutter(make, 5000), 360);
  assert.equal(fittingGutter(() => divide(64, 9, 0, 16, "rows"), 8), null);
});

test("panels change places; written names go with them, others follow from the place", () => {
  const grid = nested(512, 512, [2, 2], 0, 16);
  const swapped = swapPanels(grid, 0, 3);
  assert.deepEqual(swapped.boxes[0], grid.boxes[3]);
  assert.deepEqual(swapped.names, ["BOTTOM-RIGHT", "TOP-RIGHT", "BOTTOM-LEFT", "TOP-LEFT"]);
  const named = custom(512, 512, grid.boxes, ["A", "B", "C", "D"]);
  assert.deepEqual(swapPanels(named, 0, 3).names, ["A", "B", "C", "D"]);
});

test("the panel under a point", () => {
  const layout = nested(512, 256, [2], 32, 16);
  assert.equal(panelAt(layout, 10, 10), 0);
  assert.equal(panelAt(layout, 300, 10), 1);
  assert.equal(panelAt(layout, 250, 10), -1);
});

const WIDGETS = {
  kind: "rows", width: 512, height: 768, rows: 3, columns: 2, columns_per_row: "1, 2",
  gutter: 0, panel_step: "16", boxes: "", names: "",
}; // prettier-ignore

test("dragging a border turns the layout into boxes", () => {
  const [line] = inner(layoutOf(WIDGETS), "y");
  assert.deepEqual(dragBorder(WIDGETS, line, 35), {
    kind: "boxes",
    boxes: "0, 0, 512, 288\n0, 288, 512, 224\n0, 512, 512, 256",
  });
  assert.deepEqual(dragBorder(WIDGETS, line, 3), {});
});

test("names that would change with the boxes are written", () => {
  const grid = { ...WIDGETS, kind: "grid", rows: 2, columns: 2, height: 512 };
  const apart = borders(layoutOf(grid), true).find((border) => border.axis === "x" && border.after.length);
  const { boxes } = dragBorder(grid, apart, 32);
  assert.match(boxes, /^TOP-LEFT: 0, 0, 288, 256\n/);
  assert.deepEqual(layoutOf({ ...grid, kind: "boxes", boxes }).names, layoutOf(grid).names);
  const named = { ...grid, names: "A, B, C, D" };
  assert.match(dragBorder(named, apart, 32).boxes, /^0, 0, 288, 256\n/);
});

test("a gutter of all panels is one number", () => {
  const [line] = inner(layoutOf(WIDGETS), "y");
  assert.deepEqual(dragBorder(WIDGETS, line, 21, true), { gutter: 24 });
  assert.deepEqual(dragBorder(WIDGETS, line, -21, true), { gutter: 0 });
});

test("the edge of the canvas is a side of the canvas, and stays one that divides", () => {
  assert.deepEqual(dragBorder(WIDGETS, edge(layoutOf(WIDGETS), "y"), 130), { height: 896 });
  const tight = { ...WIDGETS, gutter: 16, panel_step: "32", height: 800 - 32 };
  assert.deepEqual(dragBorder({ ...tight, height: 832 }, edge(layoutOf({ ...tight, height: 832 }), "y"), -40), { height: 768 });
  const boxes = { ...WIDGETS, kind: "boxes", boxes: "0, 0, 512, 256\n0, 256, 512, 512" };
  assert.deepEqual(dragBorder(boxes, edge(layoutOf(boxes), "y"), 64), {
    boxes: "0, 0, 512, 256\n0, 256, 512, 576",
    height: 832,
  });
});

test("dropping a panel on another one lets them change places", () => {
  assert.deepEqual(dropPanel(WIDGETS, 1, 1), {});
  const { boxes } = dropPanel(WIDGETS, 0, 2);
  assert.equal(boxes, "0, 512, 512, 256\n0, 256, 512, 256\n0, 0, 512, 256");
});

test("a layout that is dragged back to even panels has its kind again", () => {
  const even = { kind: "rows", width: 512, height: 768, rows: 3, columns: 2, columns_per_row: "1, 2", gutter: 0, panel_step: "16" };
  for (const { kind, names } of [
    { kind: "rows", names: "" },
    { kind: "grid", names: "" },
    { kind: "nested rows", names: "ONE, TWO, THREE" },
  ]) {
    const before = { ...even, kind, names, boxes: "" };
    const [border] = inner(layoutOf(before), "y");
    const away = { ...before, ...dragBorder(before, border, 64) };
    assert.equal(away.kind, "boxes");
    const [moved] = inner(layoutOf(away), "y");
    const changes = dragBorder(away, moved, -64);
    assert.deepEqual(changes, { kind });
    assert.deepEqual(layoutOf({ ...away, ...changes }), layoutOf(before));
  }
});

test("panels that change places twice have their kind again, and names that boxes hold are not lost", () => {
  const before = { kind: "columns", width: 512, height: 256, rows: 3, columns: 3, columns_per_row: "1", gutter: 0, panel_step: "16", boxes: "", names: "" };
  const swapped = { ...before, ...dropPanel(before, 0, 2) };
  assert.equal(swapped.kind, "boxes");
  assert.deepEqual(dropPanel(swapped, 0, 2), { kind: "columns" });
  const named = { ...before, kind: "boxes", width: 384, boxes: "A: 0, 0, 144, 256\nB: 144, 0, 112, 256\nC: 256, 0, 128, 256" };
  const [border] = inner(layoutOf(named), "x");
  assert.deepEqual(Object.keys(dragBorder(named, border, -16)), ["boxes"]);
});
