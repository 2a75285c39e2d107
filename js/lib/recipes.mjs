/** The recipes that all parts of the interface share. */

import { lookAgain } from "./graph.mjs";
import { Recipes } from "./server.mjs";

let shared;

/** @returns {Recipes} */
export function recipes(api) {
  return (shared ??= new Recipes(api, lookAgain));
}
