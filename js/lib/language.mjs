/**
 * Names and tooltips of nodes in another language, from the texts that ComfyUI's server collects from the folders `locales`
 * of its packs.
 *
 * @typedef {object} Texts  of one language
 * @property {Record<string, NodeTexts>} [nodeDefs]  by type
 * @property {Record<string, string>} [nodeCategories]  by part of a category's path
 * @property {Record<string, string>} [choices]  by value; values without one show as they are
 *
 * @typedef {object} NodeTexts
 * @property {string} [display_name]
 * @property {string} [description]
 * @property {Record<string, {name?: string, tooltip?: string}>} [inputs]  by name
 * @property {Record<string, {name?: string, tooltip?: string}>} [outputs]  by number
 */

/**
 * Put the texts into a definition of a node, as `/object_info` gives it. Names of inputs and outputs stay: they are what
 * links and prompts hold, and `labelNode` shows others.
 * @param {object} definition  is changed
 * @param {Texts} texts
 */
export function translateDefinition(definition, texts) {
  const category = (part) => texts.nodeCategories?.[part] ?? part;
  definition.category = definition.category.split("/").map(category).join("/");
  const node = texts.nodeDefs?.[definition.name];
  if (!node) return;
  definition.display_name = node.display_name ?? definition.display_name;
  definition.description = node.description ?? definition.description;
  for (const inputs of [definition.input?.required, definition.input?.optional]) {
    for (const [name, specification] of Object.entries(inputs ?? {})) {
      const tooltip = node.inputs?.[name]?.tooltip;
      if (tooltip) specification[1] = { ...specification[1], tooltip };
    }
  }
  definition.output_tooltips = definition.output?.map(
    (_, index) => node.outputs?.[index]?.tooltip ?? definition.output_tooltips?.[index],
  );
}

/**
 * Label a node's widgets, inputs and outputs.
 * @param {object} node  just made, so that nobody has renamed anything
 * @param {Texts} texts
 */
export function labelNode(node, texts) {
  const { inputs, outputs } = texts.nodeDefs?.[node.comfyClass] ?? {};
  for (const widget of node.widgets ?? []) {
    const name = inputs?.[widget.name]?.name;
    if (name) widget.label = name;
    if (widget.options?.values && texts.choices) {
      widget.options.getOptionLabel ??= (value) => texts.choices[value] ?? String(value ?? "");
    }
  }
  for (const input of node.inputs ?? []) input.localized_name = inputs?.[input.name]?.name ?? input.localized_name;
  for (const [index, output] of (node.outputs ?? []).entries())
    output.localized_name = outputs?.[index]?.name ?? output.localized_name;
}
