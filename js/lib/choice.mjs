/**
 * Panels that a text lists by number or name, as `PanelLayout.select` in incontext/panels/layout.py reads it, and how clicking
 * a panel changes such a text. tests/js/choice_cases.json, written by the Python side, keeps the two equal.
 *
 * @typedef {object} Word  a part of the text that names one panel
 * @property {string} text
 * @property {number} start
 * @property {number} end
 * @property {number} index  of the panel; -1 where the layout has none of that name
 */

/**
 * @param {string} text  such as `2`, `1 3` or `LEFT, SCENE-2`
 * @param {string[]} names  of the layout's panels
 * @returns {{chosen: number[], unknown: string[]}} indices in order, and words that name no panel
 */
export function readChoice(text, names) {
  const words = wordsIn(text, names);
  const chosen = [...new Set(words.map((word) => word.index).filter((index) => index >= 0))].sort((a, b) => a - b);
  return { chosen, unknown: words.filter((word) => word.index < 0).map((word) => word.text) };
}

/**
 * The text after a click on a panel: the panel is listed, or it is no longer. All else stays as it was written.
 * @param {string} text
 * @param {string[]} names
 * @param {number} index
 * @returns {string}
 */
export function toggleChoice(text, names, index) {
  const before = readChoice(text, names).chosen;
  const isChosen = before.includes(index);
  const wanted = isChosen ? before.filter((each) => each !== index) : [...before, index].sort((a, b) => a - b);
  const attempts = isChosen ? [without(text, names, index)] : withOne(text, names, index);
  const isRead = (written) => String(readChoice(written, names).chosen) === String(wanted);
  return attempts.find(isRead) ?? wanted.map((each) => each + 1).join(", ");
}

/** Ways to add a panel. A name may hold a comma, or be the number of another panel, so that not every one is read as meant. */
function withOne(text, names, index) {
  const separators = [...new Set([separatorIn(text, names), ", "])];
  return separators.flatMap((separator) =>
    waysToWrite(text, names, index).map((word) => inserted(text, names, index, word, separator)),
  );
}

/** @returns {Word[]} */
function wordsIn(text, names) {
  const known = new Set(names.map(fold));
  const words = [];
  for (const part of text.matchAll(/[^,;，；、\n]+/g)) {
    const whole = trimmed(part);
    const isName = known.has(fold(bare(whole.text)));
    const found = isName ? [whole] : [...part[0].matchAll(/\S+/g)].map((word) => at(word[0], part.index + word.index));
    words.push(...found.filter((word) => word.text).map((word) => ({ ...word, index: panelIndex(word.text, names) })));
  }
  return words;
}

/** The index of a panel by its number or name; -1 if there is none. */
export function panelIndex(text, names) {
  const written = bare(text);
  const named = names.map(fold).indexOf(fold(written));
  if (named >= 0) return named;
  // also as East Asian keyboards write them
  const number = /^\p{Nd}{1,9}$/u.test(written) ? Number(written.normalize("NFKC")) : 0;
  return number >= 1 && number <= names.length ? number - 1 : -1;
}

function without(text, names, index) {
  let left = text;
  for (;;) {
    const words = wordsIn(left, names);
    const place = words.findIndex((word) => word.index === index);
    if (place < 0) return words.length ? left : "";
    const [last, word, next] = [words[place - 1], words[place], words[place + 1]];
    // the separator after a word goes with it, or the one before the last word
    const [from, to] = next ? [word.start, next.start] : [last?.end ?? 0, word.end];
    left = left.slice(0, from) + left.slice(to);
  }
}

/** The text with one more word: in its place if the panels are in order, else at the end. */
function inserted(text, names, index, word, separator) {
  const words = wordsIn(text, names);
  if (!words.length) return word;
  const isOrdered = words.every((each, place) => place === 0 || words[place - 1].index < each.index);
  const later = isOrdered ? words.find((each) => each.index > index) : undefined;
  if (later) return text.slice(0, later.start) + word + separator + text.slice(later.start);
  const end = words.at(-1).end;
  return text.slice(0, end) + separator + word + text.slice(end);
}

/** How a panel can be written, first as the last one in the text is: by number, by name, or by name in brackets. */
function waysToWrite(text, names, index) {
  const last = wordsIn(text, names).findLast((word) => word.index >= 0);
  const number = String(index + 1);
  const [name, marker] = [names[index], `[${names[index]}]`];
  if (!last || fold(bare(last.text)) !== fold(names[last.index])) return [number, name, marker];
  return last.text.startsWith("[") ? [marker, name, number] : [name, number, marker];
}

/** What stands between the first two words. */
function separatorIn(text, names) {
  const [first, second] = wordsIn(text, names);
  return second ? text.slice(first.end, second.start) : ", ";
}

const at = (text, start) => ({ text, start, end: start + text.length });
const trimmed = (part) => at(part[0].trim(), part.index + part[0].length - part[0].trimStart().length);
const bare = (text) => text.replace(/^[[\]]+|[[\]]+$/g, "");

/** Texts that differ in case only become the same, also "ß" and "SS". */
const fold = (text) => text.toUpperCase().toLowerCase();
