/**
 * Colours of the pack's own wires. ComfyUI colours wires by type from the tables of its canvas, and the slots of Nodes 2.0 from
 * CSS variables. It knows no colour for types of packs, and empties both whenever another palette is chosen.
 */

/**
 * One hue per type, as [dark themes, light themes]: each stands out from ComfyUI's node and canvas, from the colours that
 * ComfyUI gives to its own types, and from the others here.
 * @type {Record<string, [string, string]>}
 */
export const WIRE_COLOURS = {
  INCONTEXT_LAYOUT: ["#12a594", "#0a635a"], // teal
  INCONTEXT_RECIPE: ["#ee2fb1", "#b0007c"], // pink
  INCONTEXT_DATASET: ["#8aa313", "#4c5f00"], // olive
  INCONTEXT_RUN: ["#2f86ff", "#1746c8"], // blue
  INCONTEXT_SWEEP: ["#a664fe", "#5c16a8"], // violet
  INCONTEXT_WINDOW: ["#e46212", "#8a3300"], // rust
};

/**
 * Put the pack's colours into a table of colours by type. They survive later assignments: an empty colour, which a palette
 * assigns to types that it does not know, means ours; any other is the palette's own and is used.
 * @param {Record<string, string>} table
 * @param {() => boolean} isDark  asked whenever a colour is read
 */
export function colourTable(table, isDark) {
  for (const [type, [dark, light]] of Object.entries(WIRE_COLOURS)) {
    let chosen = table[type];
    Object.defineProperty(table, type, {
      get: () => chosen || (isDark() ? dark : light),
      set: (colour) => (chosen = colour),
      enumerable: true,
      configurable: true,
    });
  }
}

/** The rules that colour slots in Nodes 2.0; a palette's own colours are inline styles, which override them. */
export function slotRules() {
  const rule = (selector, shade) => {
    const lines = Object.entries(WIRE_COLOURS).map(([type, shades]) => `  --color-datatype-${type}: ${shades[shade]};`);
    return `${selector} {\n${lines.join("\n")}\n}\n`;
  };
  return rule(":root", 1) + rule(".dark-theme", 0);
}
