/** Sentences of the server in another language: patterns of what it says, each with its translation. */

import { inLanguage } from "./words.mjs";
import { CHINESE } from "./messages_zh.mjs";

/**
 * A function that translates what the server says; sentences that it does not know stay as they are.
 * @param {string} locale
 * @returns {(text: string) => string}
 */
export function translator(locale) {
  const patterns = inLanguage(locale, [], compiled);
  return (text) => (patterns.length && text ? text.split("\n").map((line) => translated(line, patterns)).join("\n") : text);
}

/** @typedef {{pattern: RegExp, names: string[], translation: string}} Message */

/** @type {Message[]} */
const compiled = Object.entries(CHINESE).sort(longestFirst).map(([english, translation]) => {
  const names = [];
  const source = english
    .split(/\{(\w+)\}/)
    .map((part, index) => {
      if (index % 2 === 0) return part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      names.push(part);
      return "(.+?)";
    })
    .join("");
  return { pattern: new RegExp(`^${source}$`, "su"), names, translation };
});

/** Of two that fit, the longer one says more. */
function longestFirst([one], [other]) {
  return other.length - one.length;
}

/** A line, or where it is not known as a whole, each of its sentences. Where all of them are known, none is a value of another. */
function translated(line, patterns) {
  const whole = known(line, patterns);
  if (whole?.isOne) return whole.text;
  const sentences = line.split(/(?<=[.!?]) /);
  const found = sentences.map((sentence) => known(sentence, patterns)?.text ?? null);
  if (whole && found.includes(null)) return whole.text;
  if (found.every((each) => each === null)) return line;
  return found.map((each, index) => each ?? sentences[index]).join(" ");
}

/** The translation of a text, and whether none of its values looks like sentences; null if it is not known. */
function known(text, patterns) {
  for (const { pattern, names, translation } of patterns) {
    const found = pattern.exec(text);
    if (!found) continue;
    const values = Object.fromEntries(names.map((name, index) => [name, found[index + 1]]));
    const said = translation.replace(/\{(\w+)\}/g, (_, name) => values[name]);
    return { text: said, isOne: !Object.values(values).some((value) => /[.!?] /.test(value)) };
  }
  return null;
}
