/**
 * A drawing of a layout: numbered cells with names and sizes, which of them are given, and borders that can be dragged. Where
 * panels are chosen, the cells are buttons.
 *
 * @typedef {import("./layout.mjs").Layout} Layout
 * @typedef {import("./layout.mjs").LayoutValues} LayoutValues
 *
 * @typedef {object} Shown
 * @property {Layout | null} layout
 * @property {("given" | "opened" | "generated" | "reference" | "learned")[] | null} states  per panel, where they are known
 * @property {string} message  what is wrong, or why there is no layout
 * @property {boolean} isProblem
 * @property {LayoutValues | null} values  the widgets that dragging writes to; null if nothing can be dragged
 * @property {(import("./given.mjs").Given | null)[]} [pictures]  per panel, where they are known
 * @property {boolean[] | null} [chosen]  per panel, where a click chooses it or leaves it out
 */

import { make, place } from "./dom.mjs";
import { drawnPicture } from "./drawing.mjs";
import { borders, dragBorder, dropPanel, panelAt } from "./edit.mjs";
import { layoutOf } from "./layout.mjs";
import { fill } from "./words.mjs";

const LIFT = 4; // pixels on the screen before a press becomes a drag

export class Picture {
  /** @type {Shown} */
  #shown = { layout: null, states: null, message: "", isProblem: false, values: null };
  #words;
  #onEdit;
  #onChoose;
  #canvas = make("div", "incontext-canvas");
  #foot = make("div", "incontext-foot incontext-note", [], { role: "status" });

  /**
   * @param {ReturnType<typeof import("./words.mjs").wordsOf>} words
   * @param {(changes: Partial<LayoutValues>) => void} onEdit  called once a drag has ended
   * @param {(index: number) => void} [onChoose]  called when a panel is clicked that can be chosen
   */
  constructor(words, onEdit, onChoose = () => {}) {
    this.#words = words;
    this.#onEdit = onEdit;
    this.#onChoose = onChoose;
    this.element = make("div", "incontext-lora incontext-picture widget-expands", [
      make("div", "incontext-stage", [this.#canvas]),
      this.#foot,
    ]);
  }

  /** @param {Shown} shown */
  show(shown) {
    this.#shown = shown;
    this.#canvas.removeAttribute("style"); // a drag may have held it in its place
    const focused = [...this.#canvas.children].indexOf(document.activeElement);
    this.#draw(shown.layout, shown.message, shown.isProblem);
    this.#canvas.children[focused]?.focus({ preventScroll: true }); // cells are made again
  }

  #draw(layout, message, isProblem) {
    const { values, states, chosen } = this.#shown;
    this.element.classList.toggle("incontext-editable", values !== null);
    this.#foot.className = `incontext-foot ${isProblem ? "incontext-problem" : "incontext-note"}`;
    const size = layout ? `${layout.width} × ${layout.height} px, ${counted(layout.boxes.length, this.#words)}` : "";
    this.#foot.textContent = message || (chosen ? `${size} · ${this.#words.chooseHint}` : size);
    this.#foot.title = values ? this.#words.dragHint : "";
    this.#canvas.hidden = !layout;
    if (!layout) return;
    this.#canvas.style.setProperty("--incontext-ratio", String(layout.width / layout.height));
    this.#canvas.replaceChildren(
      ...layout.boxes.map((_, index) => this.#cell(layout, index, states?.[index])),
      ...(values ? borders(layout).map((border) => this.#border(layout, border)) : []),
    );
  }

  #cell(layout, index, panelState) {
    const box = layout.boxes[index];
    const parts = [
      make("span", "incontext-number", [String(index + 1)]),
      make("span", "incontext-name", [layout.names[index]]),
      make("span", "incontext-size", [`${box.width} × ${box.height}`]),
    ];
    const state = panelState ? this.#words[panelState] : "";
    if (state) parts.push(make("span", "incontext-state", [state]));
    const kind = panelState ? `incontext-${panelState}` : "";
    const title = [`${index + 1} ${layout.names[index]}`, `${box.width} × ${box.height} px`, state].filter(Boolean);
    const { chosen } = this.#shown;
    const cell = chosen
      ? this.#button(`incontext-cell ${kind}`, parts, { title: title.join("\n"), "aria-pressed": String(chosen[index]) }, index)
      : make("div", `incontext-cell ${kind}`, parts, { title: title.join("\n") });
    place(cell, box, layout);
    const given = this.#shown.pictures?.[index];
    if (given) cell.prepend(drawnPicture(given, box, layout, () => cell.classList.add("incontext-pictured")));
    if (this.#shown.values) cell.addEventListener("pointerdown", (event) => this.#lift(event, cell, index));
    return cell;
  }

  /** A cell that can be clicked, also with the keyboard; ComfyUI's canvas would take the press and the keys for itself. */
  #button(className, parts, attributes, index) {
    const button = make("button", className, parts, { type: "button", ...attributes });
    button.addEventListener("pointerdown", (event) => event.button === 0 && event.stopPropagation());
    for (const name of ["keydown", "keyup"]) {
      button.addEventListener(name, (event) => [" ", "Enter"].includes(event.key) && event.stopPropagation());
    }
    button.addEventListener("click", () => this.#onChoose(index));
    return button;
  }

  #border(layout, border) {
    const handle = make("div", `incontext-border incontext-${border.axis}`, [], { title: this.#words.dragHint });
    const [position, from, length] = [border.position, border.from, border.to - border.from];
    const box =
      border.axis === "x"
        ? { left: position, top: from, width: 0, height: length }
        : { left: from, top: position, width: length, height: 0 };
    place(handle, box, layout);
    handle.style[border.axis === "x" ? "width" : "height"] = "";
    handle.addEventListener("pointerdown", (event) => this.#drag(event, border));
    return handle;
  }

  /** Drag a border: what would be written is drawn, and written at the end. */
  #drag(event, border) {
    const { values } = this.#shown;
    const layout = layoutOf(values);
    const point = this.#scale(layout);
    const held = event.altKey ? piece(layout, border, point(event)) : border;
    const hold = this.#anchor(layout);
    let changes = {};
    this.#follow(event, {
      move: (now) => {
        const delta = point(now)[border.axis] - point(event)[border.axis];
        changes = dragBorder(values, held, Math.round(delta), now.shiftKey);
        const dragged = layoutOf({ ...values, ...changes });
        this.#draw(dragged, this.#kindNote(changes), false);
        hold(dragged);
      },
      end: () => this.#finish(changes),
    });
  }

  /** Lift a panel and drop it on another one. */
  #lift(event, cell, index) {
    const { values } = this.#shown;
    const layout = layoutOf(values);
    const point = this.#scale(layout);
    const cells = [...this.#canvas.querySelectorAll(".incontext-cell")];
    let target = index;
    this.#follow(event, {
      move: (now) => {
        if (Math.hypot(now.clientX - event.clientX, now.clientY - event.clientY) < LIFT) return;
        const { x, y } = point(now);
        const under = panelAt(layout, x, y);
        target = under < 0 ? index : under;
        cell.classList.add("incontext-lifted");
        cells.forEach((other, number) => {
          other.classList.toggle("incontext-target", number === target && target !== index);
        });
      },
      end: () => this.#finish(dropPanel(values, index, target)),
    });
  }

  /** What was dragged stays drawn until the node shows its new values. */
  #finish(changes) {
    if (!Object.keys(changes).length) return this.show(this.#shown);
    const note = this.#kindNote(changes);
    this.#onEdit(changes);
    if (note) this.#foot.textContent = note; // until something else changes
  }

  /** What a drag does to the kind of the layout, which has other widgets then. */
  #kindNote({ kind }) {
    if (!kind) return "";
    return fill(kind === "boxes" ? this.#words.kindBoxes : this.#words.kindAgain, { kind, before: this.#shown.values.kind });
  }

  /** Keep the upper left corner and the scale of what is drawn, so that an edge stays under the pointer. */
  #anchor(layout) {
    const [canvas, stage] = [this.#canvas.getBoundingClientRect(), this.#canvas.parentElement.getBoundingClientRect()];
    const zoom = stage.width / this.#canvas.parentElement.offsetWidth; // of ComfyUI's canvas
    const scale = canvas.width / zoom / layout.width;
    const [left, top] = [(canvas.left - stage.left) / zoom, (canvas.top - stage.top) / zoom];
    return ({ width }) =>
      Object.assign(this.#canvas.style, {
        width: `${width * scale}px`,
        margin: `${top}px 0 0 ${left}px`,
        placeSelf: "start",
      });
  }

  /** From places on the screen to pixels of the canvas as it is now; a drag may change what is drawn. */
  #scale(layout) {
    const bounds = this.#canvas.getBoundingClientRect();
    return (event) => ({
      x: ((event.clientX - bounds.left) * layout.width) / bounds.width,
      y: ((event.clientY - bounds.top) * layout.height) / bounds.height,
    });
  }

  /** Follow the pointer from a press to its release; Escape gives up. What is drawn may change meanwhile. */
  #follow(event, { move, end }) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    this.element.setPointerCapture(event.pointerId);
    const stop = new AbortController();
    const on = (target, name, act) => target.addEventListener(name, act, { signal: stop.signal, capture: true });
    const finish = (act) => (now) => {
      now.stopPropagation();
      stop.abort();
      act();
    };
    const cancel = finish(() => this.show(this.#shown));
    on(this.element, "pointermove", (now) => {
      now.stopPropagation();
      move(now);
    });
    on(this.element, "pointerup", finish(end));
    on(this.element, "pointercancel", cancel);
    on(window, "keydown", (now) => now.key === "Escape" && cancel(now));
  }
}

/** The part of a border that is under a point. */
function piece(layout, border, point) {
  const other = border.axis === "x" ? point.y : point.x;
  return (
    borders(layout, true).find(
      (part) =>
        part.axis === border.axis && part.position === border.position && part.from <= other && part.to >= other,
    ) ?? border
  );
}

const counted = (count, words) => `${count} ${count === 1 ? words.panel : words.panels}`;
