/**
 * The pack's templates as ComfyUI's browser of templates shows them. It knows templates of packs by their file names only, in
 * the order in which the disk lists them; its own have titles, descriptions, tags and models, by which they are found.
 *
 * @typedef {object} Listed
 * @property {string} name  of the file
 * @property {string} title
 * @property {string} description
 * @property {string[]} tags
 * @property {string[]} models
 * @property {Record<string, string>} zh  title and description in Chinese
 */

/**
 * The pack's templates as a category of ComfyUI's own form.
 * @param {string} pack  the name of the pack's folder
 * @param {Listed[]} listed  in the order in which they are shown
 * @param {string} locale
 */
export function categoryOf(pack, listed, locale) {
  const templates = listed.map(({ name, tags, models, ...texts }) => ({
    name,
    title: texts[locale]?.title ?? texts.title,
    description: texts[locale]?.description ?? texts.description,
    tags,
    models,
    mediaType: "image",
    mediaSubtype: "jpg",
  }));
  return { moduleName: pack, title: "In-Context LoRA", type: "image", templates };
}

/**
 * Let `api` give the pack's templates with their titles and in their order.
 * @param {object} api  ComfyUI's
 * @param {string} pack
 * @param {() => Promise<Listed[]>} load
 */
export function listTemplates(api, pack, load) {
  const { getWorkflowTemplates, getCoreWorkflowTemplates } = api;
  if (!getWorkflowTemplates || !getCoreWorkflowTemplates) return; // a frontend that asks in another way lists them itself
  api.getWorkflowTemplates = async function (...options) {
    const [found, listed] = await Promise.all([getWorkflowTemplates.apply(this, options), load()]);
    const names = new Set(listed.map((template) => template.name));
    const others = (found[pack] ?? []).filter((name) => !names.has(name));
    const { [pack]: _, ...rest } = found;
    return others.length ? { ...rest, [pack]: others } : rest;
  };
  api.getCoreWorkflowTemplates = async function (locale, ...options) {
    const [found, listed] = await Promise.all([getCoreWorkflowTemplates.call(this, locale, ...options), load()]);
    if (!listed.length) return found;
    // for a language without templates ComfyUI asks itself again, in English
    const core = found.filter((category) => category.moduleName !== pack);
    return [...core, categoryOf(pack, listed, locale ?? "en")];
  };
}

/**
 * Translate what a template brings: its note, the titles of its groups and nodes. A text that somebody changed stays.
 * @param {object} workflow  as it is opened; is changed
 * @param {{titles: Record<string, string>, lines: Record<string, string>}} texts
 */
export function translateWorkflow(workflow, { titles, lines }) {
  for (const group of workflow.groups ?? []) group.title = titles[group.title] ?? group.title;
  for (const node of workflow.nodes ?? []) {
    if (node.title) node.title = titles[node.title] ?? node.title;
    if (node.type !== "MarkdownNote" || typeof node.widgets_values?.[0] !== "string") continue;
    const [text, ...rest] = node.widgets_values;
    const translated = text.split("\n").map((line) => lines[line] ?? line);
    node.widgets_values = [translated.join("\n"), ...rest];
  }
}
