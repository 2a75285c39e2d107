/**
 * The workflow that made a set, changed so that it paints one panel again: the picture is loaded, Repaint Panels opens the panel,
 * Condition Panels gives the others to the sampler, and Keep Given Panels restores them bit for bit. All else stays as it is.
 *
 * @typedef {[string, number]} Link  a node's id and the number of its output, as prompts have them
 *
 * @typedef {object} Wiring  which nodes of the workflow do what; see incontext/sets/origin.py
 * @property {Link} picture
 * @property {Link | null} layout
 * @property {string | null} stitch
 * @property {string | null} sampler
 * @property {string | null} guider
 * @property {Link | null} model
 * @property {Link | null} vae
 * @property {Link | null} recipe
 */

import { linkOf } from "../upstream.mjs";
import { writeWidget } from "../widgets.mjs";
import { add, addLoader } from "./place.mjs";

const [STITCH, REPAINT] = ["InContextStitchPanels", "InContextRepaintPanels"];
const [CONDITION, KEEP] = ["InContextConditionPanels", "InContextKeepGiven"];
const ROOM = 660; // above the workflow, for the new nodes with their pictures
const [WIDTH, GAP] = [400, 60]; // of a new node, at most, and between two
const MARGIN = 30; // of the group around them
const TITLE = 80; // pixels: titles of the group and of its nodes

/**
 * Change the workflow that is open.
 * @param {object} app
 * @param {Wiring} wiring
 * @param {string} file  the set's canvas, in the input folder
 * @param {number} panel  from 0
 * @param {string} title  of the group around the new nodes
 * @returns {boolean} whether the workflow is ready to run; else the new nodes are there, but not connected to the sampler
 */
export function repaintPanel(app, wiring, file, panel, title) {
  const graph = app.graph;
  const node = (id) => (id === null || id === undefined ? null : (graph.getNodeById(id) ?? graph.getNodeById(Number(id)) ?? null));
  const top = Math.min(0, ...graph.nodes.map(({ pos }) => pos[1])) - ROOM;
  const left = Math.min(...graph.nodes.map(({ pos }) => pos[0]));
  const made = [];
  const put = (type) => {
    const added = add(app, type, () => [left + (WIDTH + GAP) * made.length, top], graph);
    made.push(added);
    return added;
  };

  const loader = addLoader(app, file, () => [left, top], graph);
  made.push(loader);
  const before = graph.nodes.filter(({ type }) => type === REPAINT);
  const repaint = before.find(({ id }) => String(id) === wiring.stitch) ?? put(REPAINT);
  loader.connect(0, repaint, inputOf(repaint, "image"));
  writeWidget(app, repaint, "panels", String(panel + 1));
  if (!made.includes(repaint)) {
    changeSeed(app, graph, node(wiring.sampler));
    return done(app, graph, made, title, true);
  }

  const stitches = graph.nodes.filter((each) => each.type === STITCH && givesPanels(graph, each));
  const layout = layoutBehind(graph, stitches, node, wiring);
  if (layout) layout.node.connect(layout.slot, repaint, inputOf(repaint, "layout"));
  const takers = stitches.flatMap((stitch) => linksFrom(graph, stitch));
  for (const { node: taker, input, slot } of takers) repaint.connect(slot, taker, input);
  const isConditioned = takers.some(({ node: taker }) => taker.type === CONDITION);
  const isReady = layout !== null && (isConditioned || condition(graph, node, wiring, repaint, put));
  if (isReady && !graph.nodes.some(({ type }) => type === KEEP)) keepGiven(graph, node, wiring, repaint, put);
  if (isReady) changeSeed(app, graph, node(wiring.sampler));
  return done(app, graph, made, title, isReady);
}

/** Give the other panels to the sampler: model, conditioning and latent come from a new Condition Panels. */
function condition(graph, node, wiring, repaint, put) {
  const sampler = node(wiring.sampler);
  const holder = wiring.guider === null ? sampler : node(wiring.guider);
  const vae = wiring.vae && node(wiring.vae[0]);
  const latent = sampler ? inputOf(sampler, "latent_image", "samples") : -1;
  const model = holder ? originOf(graph, holder, inputOf(holder, "model")) : null;
  const positiveInput = holder ? inputOf(holder, "positive", "conditioning", "cond1") : -1;
  const positive = holder ? originOf(graph, holder, positiveInput) : null;
  if (!vae || !model || !positive || latent < 0) return false;
  const given = put(CONDITION);
  model.node.connect(model.slot, given, inputOf(given, "model"));
  vae.connect(wiring.vae[1], given, inputOf(given, "vae"));
  for (const [slot, name] of ["canvas", "mask", "layout"].entries()) repaint.connect(slot, given, inputOf(given, name));
  const recipe = wiring.recipe && node(wiring.recipe[0]);
  if (recipe) recipe.connect(wiring.recipe[1], given, inputOf(given, "recipe"));
  positive.node.connect(positive.slot, given, inputOf(given, "positive"));
  const negativeInput = inputOf(holder, "negative");
  const negative = negativeInput < 0 ? null : originOf(graph, holder, negativeInput);
  if (negative) negative.node.connect(negative.slot, given, inputOf(given, "negative"));
  given.connect(0, holder, inputOf(holder, "model"));
  given.connect(1, sampler, latent);
  given.connect(2, holder, positiveInput);
  if (negative) given.connect(3, holder, negativeInput);
  return true;
}

/** Whatever took the painted canvas now takes the one with the given panels restored. */
function keepGiven(graph, node, wiring, repaint, put) {
  const painted = node(wiring.picture[0]);
  if (!painted) return;
  const takers = linksFrom(graph, painted).filter(({ slot }) => slot === wiring.picture[1]);
  const keep = put(KEEP);
  repaint.connect(0, keep, inputOf(keep, "canvas"));
  painted.connect(wiring.picture[1], keep, inputOf(keep, "painted"));
  repaint.connect(1, keep, inputOf(keep, "mask"));
  for (const { node: taker, input } of takers) keep.connect(0, taker, input);
}

/** Another seed: with the same one and the same noise, the panel would be painted the same again. */
function changeSeed(app, graph, sampler) {
  const noise = sampler && originOf(graph, sampler, inputOf(sampler, "noise"))?.node;
  for (const each of [sampler, noise]) {
    const widget = each?.widgets?.find(({ name }) => name === "seed" || name === "noise_seed");
    if (widget && Number.isSafeInteger(Number(widget.value) + 1)) writeWidget(app, each, widget.name, Number(widget.value) + 1);
  }
}

/** Where the layout comes from: what Stitch Panels took, else what the prompt says. */
function layoutBehind(graph, stitches, node, wiring) {
  for (const stitch of stitches) {
    const origin = originOf(graph, stitch, inputOf(stitch, "layout"));
    if (origin) return origin;
  }
  const found = wiring.layout && node(wiring.layout[0]);
  return found ? { node: found, slot: wiring.layout[1] } : null;
}

/** Whether a Stitch Panels gives the canvas of a set that is painted. */
function givesPanels(graph, stitch) {
  return linksFrom(graph, stitch).some(({ node: { type } }) => type === CONDITION || type === KEEP);
}

/** Everything that takes an output of a node: which node, by which input, from which output. */
function linksFrom(graph, origin) {
  return (origin.outputs ?? []).flatMap((output, slot) =>
    [...(output.links ?? [])].map((id) => {
      const link = linkOf(graph, id);
      return { node: graph.getNodeById(link.target_id), input: link.target_slot, slot };
    }),
  );
}

/** What an input is connected to; null if it is not. */
function originOf(graph, target, input) {
  const id = input < 0 ? null : target.inputs?.[input]?.link;
  const link = id == null ? null : linkOf(graph, id);
  const origin = link ? graph.getNodeById(link.origin_id) : null;
  return origin ? { node: origin, slot: link.origin_slot } : null;
}

/** The number of the first input that has one of these names; -1 if none has. */
function inputOf(target, ...names) {
  return (target.inputs ?? []).findIndex(({ name }) => names.includes(name));
}

/** Put a group around the new nodes and bring it into view. */
function done(app, graph, made, title, isReady) {
  const [x, y] = made[0].pos;
  const width = (WIDTH + GAP) * made.length - GAP;
  const group = new LiteGraph.LGraphGroup(title);
  group.pos = [x - MARGIN, y - TITLE];
  group.size = [width + 2 * MARGIN, ROOM - MARGIN];
  graph.add(group);
  const { ds, canvas } = app.canvas;
  const covered = document.querySelector(".incontext-gallery")?.getBoundingClientRect().right ?? 0;
  ds.scale = Math.min(1, (canvas.clientWidth - covered - 2 * MARGIN) / (width + 2 * MARGIN));
  ds.offset[0] = (covered + MARGIN) / ds.scale - x + MARGIN;
  ds.offset[1] = 120 / ds.scale - y + TITLE;
  app.canvas.setDirty(true, true);
  return isReady;
}
