/** The pages' scripts import what there is: ComfyUI's page leaves out a script that does not load, and says so in its log alone. */

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import test from "node:test";

const FOLDER = new URL("../../js/", import.meta.url);
const IMPORT = /^import \{([^}]*)\} from "(\.\/[^"]+)";/gm;
const scripts = (await readdir(FOLDER)).filter((name) => name.endsWith(".js"));

test("there are scripts", () => assert.ok(scripts.length > 5, scripts.join()));

for (const script of scripts) {
  test(`${script} imports what its modules export`, async () => {
    const text = await readFile(new URL(script, FOLDER), "utf8");
    for (const [, names, path] of text.matchAll(IMPORT)) {
      const exported = Object.keys(await import(new URL(path, FOLDER)));
      const missing = names
        .split(",")
        .map((name) => name.trim().split(" as ")[0])
        .filter((name) => name && !exported.includes(name));
      assert.deepEqual(missing, [], `not exported by ${path}`);
    }
  });
}
