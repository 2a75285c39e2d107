/** Wires of recipes, layouts, datasets, runs, sweeps and windows have colours of their own. */

import { app } from "../../scripts/app.js";

import { make } from "./lib/dom.mjs";
import { colourTable, slotRules } from "./lib/wires.mjs";

app.registerExtension({
  name: "InContextLora.Wires",

  setup() {
    // the tables of links and of slots on the classic canvas
    for (const table of [app.canvas.constructor.link_type_colors, app.canvas.default_connection_color_byType]) {
      colourTable(table, isDark);
    }
    document.head.append(make("style", "", [slotRules()]));
  },
});

/** ComfyUI marks a dark palette on the page's root; older frontends on its body. */
function isDark() {
  return [document.documentElement, document.body].some((element) => element.classList.contains("dark-theme"));
}
