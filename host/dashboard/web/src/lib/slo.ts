/** What the page of objectives works out from what the API says. Pure. */

import type { Labels, Slo, SloSeries, SloState } from "./types";

/** Worst first. */
export const STATES: SloState[] = ["exhausted", "burning_fast", "burning_slow", "no_data", "ok"];
/** In words, and as which of the badges' tones. */
export const WORDS: Record<SloState, [string, string]> = {
  ok: ["ok", "ok"],
  burning_slow: ["burning slow", "warning"],
  burning_fast: ["burning fast", "critical"],
  exhausted: ["exhausted", "down"],
  no_data: ["no data", "none"],
};

export type Sort = "budget" | "state" | "name" | "burn";
export const SORTS: [Sort, string][] = [
  ["budget", "Least budget first"],
  ["state", "Worst state first"],
  ["burn", "Fastest burn first"],
  ["name", "Name"],
];

/** The first series is the worst one: the API sorts them so. */
export const worst = (slo: Slo): SloSeries | undefined => slo.series[0];

export function sorted(slos: Slo[], by: Sort): Slo[] {
  const name = (a: Slo, b: Slo) => a.name.localeCompare(b.name, "en", { numeric: true });
  const budget = (s: Slo) => worst(s)?.budget_remaining_ratio ?? Infinity;
  const burn = (s: Slo) => worst(s)?.burns[0]?.long_rate ?? -Infinity;
  const compare: Record<Sort, (a: Slo, b: Slo) => number> = {
    name,
    budget: (a, b) => difference(budget(a), budget(b)),
    burn: (a, b) => difference(burn(b), burn(a)),
    state: (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state) || difference(budget(a), budget(b)),
  };
  return [...slos].sort((a, b) => compare[by](a, b) || name(a, b));
}

/** Infinity less Infinity is no number. */
const difference = (a: number, b: number) => (a === b ? 0 : a - b);

/** A percentage with as many digits as its objective makes meaningful: 99.9 is compared with 99.953, not with 100. */
export function precise(percent: number | null | undefined, objective: number): string {
  if (percent === null || percent === undefined || !Number.isFinite(percent)) return "–";
  const own = /\.(\d+)/.exec(String(objective))?.[1]?.length ?? 0;
  const places = Math.min(own + 2, 8);
  // What is not all must not read as all.
  const cut = percent < 100 ? Math.min(percent, 100 - 10 ** -places) : percent;
  return `${cut.toFixed(places).replace(/\.?0+$/, "")} %`;
}

/** Share of the window that is known of, 0 to 1. */
export function known(slo: Slo, series: SloSeries | undefined, now: number): number {
  if (!series || series.known_since_ms === null) return 0;
  return Math.min(1, Math.max(0, (now - series.known_since_ms) / 1000 / slo.window_seconds));
}
/** With less than this share of its window, an objective is young. */
export const YOUNG_BELOW = 0.98;

/** A selector of one recorded series. */
export function recorded(metric: string, slo: Slo, series: SloSeries, window?: string): string {
  const labels: Labels = { slo: slo.name, ...slo.labels, ...series.labels, ...(window ? { window } : {}) };
  return `${metric}{${Object.entries(labels).map(([k, v]) => `${/^[a-zA-Z_]\w*$/.test(k) ? k : JSON.stringify(k)}=${JSON.stringify(v)}`).join(",")}}`;
}

/**
 * The budget as it went: all of it at the first time, less what was used up until each, ending at what is left now.
 * `good` and `total` are mean rates of equal steps; a hole is a time without events.
 */
export function burnDown(good: (number | null)[], total: (number | null)[], objectivePercent: number): (number | null)[] {
  const all = total.reduce<number>((sum, t) => sum + (t ?? 0), 0);
  const budget = all * (1 - objectivePercent / 100);
  if (!(budget > 0)) return total.map(() => null);
  let bad = 0;
  return total.map((t, i) => {
    if (t !== null) bad += Math.max(0, t - (good[i] ?? 0));
    return 1 - bad / budget;
  });
}

/** An even spending of all the budget over these times. */
export function evenly(times: number[]): number[] {
  const [from, to] = [times[0] ?? 0, times.at(-1) ?? 1];
  return times.map((t) => 1 - (t - from) / Math.max(to - from, 1));
}
