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

/** Do something when a button is pressed; it cannot be pressed again until that is done. */
export function onPress(button, act) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await act();
    } finally {
      button.disabled = false;
    }
  });
}

/**
 * Load stylesheets of the pack, each once per page. Where rules are equally specific the later file wins, so the ones that
 * others build on come first.
 * @param {...string} names  files in `styles/`, without the ending; `base` is always loaded before them
 */
export function loadStyles(...names) {
  for (const name of ["base", ...names]) {
    const href = new URL(`../styles/${name}.css`, import.meta.url).href;
    if (document.querySelector(`link[href="${href}"]`)) continue;
    document.head.append(make("link", "", [], { rel: "stylesheet", href }));
  }
}

/** Position and size in per cent of a canvas. */
export function place(element, { left, top, width, height }, canvas) {
  element.style.left = `${(100 * left) / canvas.width}%`;
  element.style.top = `${(100 * top) / canvas.height}%`;
  element.style.width = `${(100 * width) / canvas.width}%`;
  element.style.height = `${(100 * height) / canvas.height}%`;
}
