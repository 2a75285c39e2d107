/** Pictures of panels, drawn as Stitch Panels fits them. A picture that cannot be loaded is not drawn. */

import { placed } from "./fitting.mjs";

const LONGEST_SIDE = 384; // of a picture that is kept, in pixels
const MOST_KEPT = 64;
const STRIPE = 6; // pixels of the hatching over what a mask opens
const HATCHING = "rgb(79 157 255 / 85%)";

/**
 * @typedef {object} Source  a picture, reduced
 * @property {number} width  of the original
 * @property {number} height
 * @property {HTMLCanvasElement} colours
 * @property {HTMLCanvasElement | null} opened  opaque where the original is transparent; null if it is nowhere
 */

/** @type {Map<string, {source: Source | null | undefined, loaded: Promise<Source | null>}>} those used last at the end */
const kept = new Map();

/** Load pictures again when they are drawn next: files may have changed. */
export const forgetPictures = () => kept.clear();

/**
 * An element that shows a picture in its panel. It is empty, and hidden, until the picture is there.
 * @param {import("./given.mjs").Given} given
 * @param {import("./layout.mjs").Box} box  of the panel
 * @param {import("./layout.mjs").Layout} layout
 * @param {() => void} onDrawn
 */
export function drawnPicture(given, box, layout, onDrawn) {
  const canvas = document.createElement("canvas");
  canvas.className = "incontext-image";
  canvas.hidden = true;
  const show = (source) => {
    if (!source || !draw(canvas, source, given, box, layout)) return;
    canvas.hidden = false;
    onDrawn();
  };
  const entry = load(given);
  if (entry.source === undefined) void entry.loaded.then(show);
  else show(entry.source);
  return canvas;
}

function load(given) {
  const key = `${given.isOpaque} ${given.address}`;
  const entry = kept.get(key) ?? { source: undefined, loaded: read(given).catch(() => null) };
  kept.delete(key);
  kept.set(key, entry);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  void entry.loaded.then((source) => (entry.source = source));
  return entry;
}

/** @returns {Promise<Source>} */
async function read({ address, isOpaque }) {
  const image = await fetched(address);
  const { naturalWidth: width, naturalHeight: height } = image;
  const colours = reduced(image);
  const opened = transparencyOf(colours);
  // browsers drop the colours of what is transparent, so the server is asked for them alone
  return { width, height, opened, colours: opened && isOpaque ? reduced(await fetched(`${address}&channel=rgb`)) : colours };
}

async function fetched(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

function reduced(image) {
  const factor = Math.min(1, LONGEST_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = sized(Math.max(1, Math.round(image.naturalWidth * factor)), Math.max(1, Math.round(image.naturalHeight * factor)));
  smooth(canvas).drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function transparencyOf(picture) {
  const { width, height } = picture;
  const pixels = picture.getContext("2d").getImageData(0, 0, width, height);
  let isAnywhere = false;
  for (let place = 3; place < pixels.data.length; place += 4) {
    pixels.data[place] = 255 - pixels.data[place];
    isAnywhere ||= pixels.data[place] > 0;
  }
  if (!isAnywhere) return null;
  const opened = sized(width, height);
  opened.getContext("2d").putImageData(pixels, 0, 0);
  return opened;
}

/** Draw a panel; false if the picture does not go into it. */
function draw(canvas, source, given, box, layout) {
  const placement = given.isCanvas ? part(source, box, layout) : placed(source.width, source.height, box, given);
  if (!placement) return false;
  const factor = Math.min(1, LONGEST_SIDE / Math.max(box.width, box.height));
  Object.assign(canvas, { width: Math.max(1, Math.round(box.width * factor)), height: Math.max(1, Math.round(box.height * factor)) });
  const context = smooth(canvas);
  context.fillStyle = given.padding ?? "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const from = scaled(placement.crop, source.colours.width / source.width, source.colours.height / source.height);
  const to = scaled(placement.content, canvas.width / box.width, canvas.height / box.height);
  context.drawImage(source.colours, ...from, ...to);
  if (given.fit === "contain, extend edges") extendEdges(context, to);
  if (given.isMasked && source.opened) context.drawImage(hatched(source.opened, from, to), to[0], to[1]);
  return true;
}

/** The part of a finished set that a panel shows; null if the picture has other proportions than the layout. */
function part({ width, height }, box, layout) {
  if (width * layout.height !== height * layout.width) return null;
  const factor = width / layout.width;
  const [left, top, wide, high] = scaled(box, factor, factor);
  return { crop: { left, top, width: wide, height: high }, content: { left: 0, top: 0, width: box.width, height: box.height } };
}

/** Repeat the outermost pixels to the sides, then up and down. */
function extendEdges(context, content) {
  const [left, top, width, height] = content.map(Math.round);
  const { canvas } = context;
  const [right, bottom] = [left + width, top + height];
  context.imageSmoothingEnabled = false; // else what lies beside the edge would show through
  const stretch = (from, to) => to[2] > 0 && to[3] > 0 && context.drawImage(canvas, ...from, ...to);
  stretch([left, top, 1, height], [0, top, left, height]);
  stretch([right - 1, top, 1, height], [right, top, canvas.width - right, height]);
  stretch([0, top, canvas.width, 1], [0, 0, canvas.width, top]);
  stretch([0, bottom - 1, canvas.width, 1], [0, bottom, canvas.width, canvas.height - bottom]);
}

/** Stripes over what a mask opens. */
function hatched(opened, from, [, , width, height]) {
  const canvas = sized(Math.max(1, Math.round(width)), Math.max(1, Math.round(height)));
  const context = canvas.getContext("2d");
  context.drawImage(opened, ...from, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-in";
  const stripes = sized(2 * STRIPE, 2 * STRIPE);
  const lines = stripes.getContext("2d");
  lines.fillStyle = "rgb(128 128 128 / 60%)"; // what is to be generated
  lines.fillRect(0, 0, stripes.width, stripes.height);
  lines.strokeStyle = HATCHING;
  lines.lineWidth = STRIPE / 2;
  for (const shift of [-STRIPE, STRIPE, 3 * STRIPE]) {
    lines.moveTo(shift - STRIPE, 2 * STRIPE + STRIPE);
    lines.lineTo(shift + 2 * STRIPE, 0);
  }
  lines.stroke();
  context.fillStyle = context.createPattern(stripes, "repeat");
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

const scaled = ({ left, top, width, height }, x, y) => [left * x, top * y, width * x, height * y];

function sized(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

function smooth(canvas) {
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  return context;
}
