/** Columns of a chart: lists of one length, by step. Each function takes time in proportion to the lists. */

/** Sorted numbers that are in any of some sorted lists, once each. */
export function union(lists) {
  let all = [];
  for (const list of lists) all = merged(all, list);
  return all;
}

/** Both lists as one. */
function merged(one, other) {
  const all = [];
  let [i, k] = [0, 0];
  while (i < one.length || k < other.length) {
    const next = k >= other.length || one[i] <= other[k] ? one[i] : other[k];
    all.push(next);
    if (one[i] === next) i++;
    if (other[k] === next) k++;
  }
  return all;
}

/**
 * Values of some steps, in a column of more steps; null if there is none.
 * @param {number[]} from  sorted
 * @param {(number | null)[]} values  one for each of these
 * @param {number[]} steps  sorted, with all of `from`
 */
export function spread(from, values, steps) {
  let place = 0;
  return steps.map((step) => (from[place] === step ? (values[place++] ?? null) : null));
}
