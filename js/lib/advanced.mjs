/**
 * Advanced inputs, as the schemas mark them. Nodes 2.0 of newer frontends fold them away by themselves; on the classic
 * canvas, and in older frontends, this does. A node's `showAdvanced` is the host's own flag, saved with the workflow.
 */

import { isElement, isUsedElsewhere, keepInputs, showWidget } from "./widgets.mjs";

const TOGGLE = "incontext_advanced";

/** The widgets of a node that its schema marks as advanced. */
export function advancedWidgets(node) {
  return (node.widgets ?? []).filter((widget) => widget.options?.advanced);
}

/**
 * Give a node a button that folds its advanced inputs away and brings them back. It stands after the inputs and before a
 * picture or view of the node, whichever of the two the page makes first.
 * @param {object} node  just made
 * @param {() => void} toggle
 */
export function addToggle(node, toggle) {
  const widget = node.addWidget("button", TOGGLE, null, toggle, { serialize: false, [TOGGLE]: true }); // not part of the prompt
  widget.serialize = false; // not part of a saved workflow
  const widgets = node.widgets ?? [];
  const element = widgets.findIndex(isElement);
  if (element >= 0) widgets.splice(element, 0, ...widgets.splice(widgets.indexOf(widget), 1));
  return widget;
}

/**
 * Show what is to be seen of a node; an advanced input that is connected or promoted always stays.
 * @param {object} node
 * @param {{inThisRenderer: boolean, inAny: boolean}} byHost  where the host folds advanced inputs away
 * @param {{showAdvanced: string, hideAdvanced: string}} words
 * @returns {boolean} whether anything changed
 */
export function foldAdvanced(node, byHost, words) {
  const toggle = node.widgets?.find((widget) => widget.options?.[TOGGLE]);
  if (!toggle) return false;
  const widgets = advancedWidgets(node);
  const names = new Set(widgets.map((widget) => widget.name));
  const isOpen = byHost.inThisRenderer || Boolean(node.showAdvanced);
  let changed = showWidget(toggle, !byHost.inThisRenderer);
  for (const widget of widgets) if (showWidget(widget, isOpen || isUsedElsewhere(node, widget.name))) changed = true;
  const present = new Set(node.inputs.map((input) => input.name));
  if (keepInputs(node, (name) => (names.has(name) ? isOpen : present.has(name)))) changed = true;
  const label = isOpen ? words.hideAdvanced : words.showAdvanced.replace("{count}", String(widgets.length));
  if (toggle.label !== label) {
    toggle.label = label;
    if (!byHost.inAny) toggle.name = label; // older frontends write a button's name on it
    changed = true;
  }
  return changed;
}
