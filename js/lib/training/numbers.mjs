/** Numbers as people read them. */

/** Seconds as `4:05` or `1:02:05`; empty if it is not known. */
export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "";
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (value) => String(value).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A loss with four digits that count. */
export function loss(value) {
  if (!Number.isFinite(value)) return "–";
  return Math.abs(value) >= 0.001 ? value.toPrecision(4) : value.toExponential(2);
}

/** A learning rate: `1e-4`, `7.5e-5`, `0.002`. */
export function rate(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  if (value >= 0.001) return String(Number(value.toPrecision(3)));
  const [digits, power] = value.toExponential(2).split("e");
  return `${Number(digits)}e${Number(power)}`;
}

/** Bytes as `20.4 MB`. */
export function size(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;
}

/** Seconds since 1970 as the day and time of the reader's language. */
export function moment(seconds, locale) {
  const options = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
  return new Date(1000 * seconds).toLocaleString(locale, options);
}
