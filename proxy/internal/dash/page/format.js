// Numbers as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const none = "–";

export const count = (n) => whole.format(n);

/** rate prints small numbers with one decimal. */
export const rate = (n) => (n < 10 ? fine.format(n) : whole.format(n));

/** bytes prints a number of bytes in its largest unit of 1024. */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i > 0 && n < 10 ? n.toFixed(1) : whole.format(n)} ${units[i]}`;
}

/** micros prints a time given in µs with about three digits. */
export function micros(us) {
  if (us < 1000) return `${whole.format(us)} µs`;
  const ms = us / 1000;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : whole.format(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}

/** duration prints seconds in the two largest units. */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m}m ${s % 60}s`;
  const h = Math.floor(m / 60);
  if (h < 24) return `${h}h ${m % 60}m`;
  return `${Math.floor(h / 24)}d ${h % 24}h`;
}

/** percent prints a part of a whole. */
export const percent = (part, all) => (all > 0 ? `${((100 * part) / all).toFixed(1)} %` : none);

/** between is the seconds from one instant to another, both as the server wrote them. */
export const between = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;
