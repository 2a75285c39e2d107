/** A few helpers for elements; no state. */

/**
 * An element with its class, attributes and children.
 * @param {string} tag
 * @param {string} className
 * @param {(Node | string)[]} children
 * @param {Record<string, string>} attributes
 */
export function make(tag, className = "", children = [], attributes = {}) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Load a stylesheet of the pack, once a page. */
export function loadStyles(file = "incontext.css") {
  const href = new URL(`../${file}`, import.meta.url).href;
  if (document.querySelector(`link[href="${href}"]`)) return;
  document.head.append(make("link", "", [], { rel: "stylesheet", href }));
}

/** Position and size in per cent of a canvas. */
export function place(element, { left, top, width, height }, canvas) {
  element.style.left = `${(100 * left) / canvas.width}%`;
  element.style.top = `${(100 * top) / canvas.height}%`;
  element.style.width = `${(100 * width) / canvas.width}%`;
  element.style.height = `${(100 * height) / canvas.height}%`;
}
