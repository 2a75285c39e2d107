/** A panel of a set, large, over the page. The arrow keys show the others. */

import { make } from "../dom.mjs";
import { panelAddress, panelName, pictureAddress } from "./sets.mjs";

/**
 * @param {object} api
 * @param {import("./sets.mjs").MadeSet} made
 * @param {number} index
 * @param {object} words
 */
export function showLarge(api, made, index, words) {
  const shown = make("div", "incontext-shown");
  const text = make("p", "incontext-text");
  const close = make("button", "incontext-button incontext-close", [make("i", "pi pi-times")], { type: "button", "aria-label": words.close, title: words.close });
  const dialog = make("dialog", "incontext-lora incontext-large", [shown, text, close]);

  const show = (next) => {
    index = (next + made.panels.length) % made.panels.length;
    shown.replaceChildren(panelPicture(api, made, index));
    text.replaceChildren(make("mark", "", [panelName(made, index)]), ` ${made.panels[index].text}`);
  };
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the graph has keys of its own
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (step) show(index + step);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target !== text && !text.contains(event.target)) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  show(index);
  document.body.append(dialog);
  dialog.showModal();
}

/** The panel's own pixels: cut from the whole picture if there is one, so that nothing is made smaller. */
function panelPicture(api, made, index) {
  const address = pictureAddress(api, made);
  const [left, top, width, height] = made.panels[index].box;
  if (!address) return make("img", "", [], { src: panelAddress(api, made, index), alt: made.panels[index].text });
  const image = new Image();
  image.alt = made.panels[index].text;
  const canvas = make("canvas");
  image.addEventListener("load", () => {
    const scale = image.naturalWidth / made.layout.width; // the picture may have been enlarged
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.getContext("2d").drawImage(image, left * scale, top * scale, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
  });
  image.src = address;
  return canvas;
}
