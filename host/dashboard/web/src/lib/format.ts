/** Numbers, times and units for people. Pure: the time of day is an argument. */

/** Shown where there is no value. */
export const NONE = "–";

const IEC = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const SI: [number, string][] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/**
 * Three significant digits, never an exponent: 0.04, 7.25, 31.4, 250. Needless zeros go, unless `steady`: a live number
 * must not change its width each time it passes a round one.
 */
export function digits(value: number, steady = false): string {
  const size = Math.abs(value);
  const places = size === 0 || size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.01 ? 3 : 5;
  const text = value.toFixed(places);
  const short = text.includes(".") && !steady ? text.replace(/\.?0+$/, "") : text;
  return short === "-0" ? "0" : short;
}

/** 0 to 100; more than one place after the point says nothing. */
export function percent(value: number, steady = false): string {
  const text = Math.abs(value) >= 99.95 ? value.toFixed(0) : value.toFixed(1);
  return `${steady ? text : text.replace(/\.0$/, "")} %`;
}

export function bytes(value: number, steady = false): string {
  let size = Math.abs(value);
  let step = 0;
  // 1023.6 would be written "1024 KiB": go on to the next unit where rounding gets there.
  while (size >= 999.5 && step < IEC.length - 1) {
    size /= 1024;
    step += 1;
  }
  const sign = value < 0 ? "-" : "";
  return `${sign}${step === 0 ? Math.round(size) : digits(size, steady)} ${IEC[step]}`;
}

export function count(value: number): string {
  const size = Math.abs(value);
  if (size < 10_000) return Number.isInteger(value) ? value.toLocaleString("en-US").replaceAll(",", "\u2009") : digits(value);
  for (const [factor, name] of SI) if (size >= factor * 0.9995) return `${digits(value / factor)}\u2009${name}`;
  return digits(value);
}

/** A measured length of time: 380 µs, 12.5 ms, 1.4 s, 3 min 20 s. */
export function seconds(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 0.9995e-3) return `${digits(value * 1e6)} µs`;
  if (size < 0.9995) return `${digits(value * 1e3)} ms`;
  if (size < 60) return `${digits(value)} s`;
  return duration(value);
}

/** A length of time in its two greatest units: 45 s, 3 min 20 s, 2 h 5 min, 6 d 4 h. */
export function duration(value: number): string {
  const s = Math.round(Math.abs(value));
  const [d, h, m] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  const two = (a: number, A: string, b: number, B: string) => (b ? `${a} ${A} ${b} ${B}` : `${a} ${A}`);
  if (d) return two(d, "d", h, "h");
  if (h) return two(h, "h", m, "min");
  if (m) return two(m, "min", s % 60, "s");
  return `${s} s`;
}

/** A value in the API's unit words; an unknown unit is written after the number. */
export function value(v: number | null | undefined, unit = "", steady = false): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return NONE;
  switch (unit) {
    case "percent":
      return percent(v, steady);
    case "ratio":
      return percent(v * 100, steady);
    case "sli":
      return `${v.toFixed(3).replace(/\.?0+$/, "")} %`;
    case "times":
      return `${digits(v)}×`;
    case "bytes":
      return bytes(v, steady);
    case "bytes_per_second":
      return `${bytes(v, steady)}/s`;
    case "per_second":
      return `${count(v)}/s`;
    case "seconds":
      return seconds(v);
    case "celsius":
      return `${v.toFixed(1)} °C`;
    case "":
    case "count":
      return count(v);
    default:
      return `${count(v)} ${unit}`;
  }
}

/** Number and unit apart, for big figures. */
export function parts(v: number | null | undefined, unit = ""): { number: string; unit: string } {
  const text = value(v, unit, true);
  const cut = text.search(/[\s\u2009/]/);
  return cut < 0 ? { number: text, unit: "" } : { number: text.slice(0, cut), unit: text.slice(cut).trim() };
}

/** "now", "12 s ago", "in 3 min": how far `at` is from `now`, both in milliseconds. */
export function relative(at: number | null | undefined, now: number): string {
  if (at === null || at === undefined) return "never";
  const s = Math.round((at - now) / 1000);
  if (Math.abs(s) < 2) return "now";
  const size = Math.abs(s);
  const text =
    size < 120
      ? `${size} s`
      : size < 7200
        ? `${Math.round(size / 60)} min`
        : size < 172_800
          ? `${Math.round(size / 3600)} h`
          : `${Math.round(size / 86_400)} d`;
  return s < 0 ? `${text} ago` : `in ${text}`;
}

const pad = (n: number, width = 2) => String(n).padStart(width, "0");

/** Local time with seconds: 2026-03-01 14:05:09. */
export function exact(at: number | null | undefined): string {
  if (at === null || at === undefined) return NONE;
  const d = new Date(at);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clock(at)}`;
}

/** Time of day: 14:05:09. */
export function clock(at: number): string {
  const d = new Date(at);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

/** `{{label}}` in `template` is replaced; without one, the labels as PromQL writes them. */
export function legend(template: string, labels: Record<string, string>): string {
  const text = template.replace(/\{\{\s*([\w.]+)\s*\}\}/g, (_, name: string) => labels[name] ?? "").trim();
  return text || selector(labels);
}

/** `name{a="1"}`. */
export function selector(labels: Record<string, string>): string {
  const { __name__: name = "", ...rest } = labels;
  const inner = Object.entries(rest).map(([k, v]) => `${k}=${JSON.stringify(v)}`);
  return inner.length || !name ? `${name}{${inner.join(", ")}}` : name;
}

/** The unit word of a metric, from its own metadata or, where it has none, from its name. */
export function unitOf(name: string, unit = ""): string {
  if (unit) return unit;
  const base = name.replace(/_total$/, "");
  for (const [end, word] of [["bytes", "bytes"], ["seconds", "seconds"], ["percent", "percent"], ["ratio", "ratio"], ["celsius", "celsius"]] as const)
    if (base.endsWith(`_${end}`)) return word;
  return "";
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
