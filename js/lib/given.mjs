/**
 * The pictures of given panels, as far as they are known before anything runs: files of Load Image, batches of them, and what
 * other nodes have shown in this session.
 *
 * @typedef {import("./outputs.mjs").File} File
 *
 * @typedef {object} Host
 * @property {(node: object) => File[]} outputsOf  what a node shows
 * @property {(file: File) => string} addressOf
 *
 * @typedef {object} Given  a picture in a panel
 * @property {string} address
 * @property {boolean} isOpaque  whether the node leaves the file's transparency out of the picture
 * @property {boolean} isMasked  whether the file's transparency is the mask of the panel
 * @property {string} [fit]
 * @property {string} [align]
 * @property {string} [padding]  a CSS colour
 * @property {boolean} [isCanvas]  whether it is a picture of the whole canvas
 */

import { fittings } from "./fitting.mjs";
import { DEEPEST, isGiven, isLinked, linkOf, source, textOf, valueOf } from "./upstream.mjs";

/** Nodes that give a file of ComfyUI's folders, whose name is in their widget `image`. */
export const LOADERS = new Set(["LoadImage", "LoadImageOutput"]);
/** Nodes that show exactly what they are connected to. */
const VIEWERS = new Set(["PreviewImage", "SaveImage"]);
const MASK_SLOT = 1; // of Load Image
const NAMED_COLOURS = { gray: "#808080", grey: "#808080", neutral: "#808080" };

/**
 * The pictures of a Stitch Panels node, or of the finished set on a Repaint Panels node.
 * @param {object} node
 * @param {import("./layout.mjs").Layout} layout
 * @param {Host} host
 * @returns {(Given | null)[]} one per panel
 */
export function givenPictures(node, layout, host) {
  if (node.type === "InContextRepaintPanels") {
    const [canvas] = picturesAt(node, "image", host, 1);
    return layout.boxes.map(() => (canvas ? { ...canvas.picture, isMasked: false, isCanvas: true } : null));
  }
  const settings = fittingsOf(node, layout.names);
  if (!settings) return layout.boxes.map(() => null);
  const together = picturesAt(node, "images", host, layout.boxes.length);
  const padding = cssColour(textOf(node, "padding") || "white");
  return layout.boxes.map((_, index) => {
    const [own] = isLinked(node, `panel_${index + 1}`) ? picturesAt(node, `panel_${index + 1}`, host, 1) : [together[index]];
    return own ? { ...own.picture, isMasked: isMaskOf(node, `mask_${index + 1}`, own.node), ...settings[index], padding } : null;
  });
}

/** How each panel is fitted; null if another node says so, or what is written cannot be read. */
function fittingsOf(node, names) {
  if (["fit", "align", "exceptions"].some((name) => isGiven(node, name))) return null;
  const common = { fit: textOf(node, "fit"), align: textOf(node, "align") };
  return fittings(names, common, textOf(node, "exceptions"));
}

/**
 * The first pictures that arrive at an input, in order; none if they are not known.
 * @param {object} node
 * @param {string} inputName
 * @param {Host} host
 * @param {number} most  how many are needed: a chain of batches can double their number at every node
 * @returns {{node: object, picture: {address: string, isOpaque: boolean}}[]}
 */
function picturesAt(node, inputName, host, most, depth = 0) {
  const from = depth < DEEPEST ? source(node, inputName) : null;
  return from && !from.silence ? picturesOf(from, host, most, depth) : [];
}

function picturesOf({ node, slot }, host, most, depth) {
  if (LOADERS.has(node.type)) {
    const file = slot !== MASK_SLOT && !isGiven(node, "image") ? readFile(valueOf(node, "image")) : null;
    return file ? [{ node, picture: { address: host.addressOf(file), isOpaque: true } }] : [];
  }
  const parts = batchInputs(node);
  if (parts.length) {
    const found = [];
    for (const name of parts) {
      if (found.length >= most) break;
      const more = picturesAt(node, name, host, most - found.length, depth + 1);
      if (!more.length) return [];
      found.push(...more);
    }
    return found;
  }
  const isFirstPicture = node.outputs?.findIndex((output) => output.type === "IMAGE") === slot;
  const shown = (isFirstPicture && host.outputsOf(node)) || [];
  const files = shown.length ? shown : viewersOf(node, slot).map((viewer) => host.outputsOf(viewer)).find((each) => each?.length);
  return (files ?? []).slice(0, most).map((file) => ({ node, picture: { address: host.addressOf(file), isOpaque: false } }));
}

/** The connected inputs of core's nodes that make one batch of several pictures. */
function batchInputs(node) {
  const isPart = { ImageBatch: /^image[12]$/, BatchImagesNode: /^images\./ }[node.type];
  return isPart ? node.inputs.filter((input) => isPart.test(input.name) && input.link != null).map((input) => input.name) : [];
}

/** Nodes after an output that show what comes out of it. */
function viewersOf(node, slot) {
  const links = (node.outputs?.[slot]?.links ?? []).map((id) => linkOf(node.graph, id));
  const targets = links.map((link) => link && node.graph.getNodeById(link.target_id));
  return targets.filter((target) => target && VIEWERS.has(target.type));
}

/** Whether an input gets the mask of the file that this node loads. */
function isMaskOf(node, inputName, loader) {
  const from = source(node, inputName);
  return from !== null && !from.silence && from.node === loader && LOADERS.has(loader.type) && from.slot === MASK_SLOT;
}

/**
 * The file that a value of Load Image names, such as `sets/hero.png [output]`.
 * @param {unknown} value
 * @returns {File | null}
 */
export function readFile(value) {
  const [, path, type = "input"] = /^(.+?)(?: \[(input|output|temp)\])?$/.exec(typeof value === "string" ? value.trim() : "") ?? [];
  if (!path) return null;
  const parts = path.replaceAll("\\", "/").split("/");
  return { filename: parts.at(-1), subfolder: parts.slice(0, -1).join("/"), type };
}

/** A colour as Stitch Panels reads it, for CSS, which reads names and #rrggbb alike. */
function cssColour(text) {
  const written = text.trim().toLowerCase();
  return NAMED_COLOURS[written] ?? (/^\d+\s*,\s*\d+\s*,\s*\d+$/.test(written) ? `rgb(${written})` : written);
}
