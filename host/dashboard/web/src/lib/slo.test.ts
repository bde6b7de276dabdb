import { expect, test } from "vitest";
import { burnDown, evenly, known, precise, recorded, sorted } from "./slo";
import type { Slo, SloSeries, SloState } from "./types";

const series = (left: number | null, burn = 0): SloSeries => ({
  labels: { target: "a" }, state: "ok", good_ratio: 1, budget_remaining_ratio: left, known_since_ms: 0, exhausted_in_seconds: null, good: 1, total: 1,
  burns: [{ threshold: 14.4, severity: "page", long: "1h", short: "5m", long_rate: burn, short_rate: burn, possible: true }],
});
const slo = (name: string, state: SloState, ...of: SloSeries[]): Slo => ({
  name, description: "", objective_percent: 99.9, window_seconds: 1000, window: "1000s", interval_seconds: 1, labels: { team: "web" }, state, reason: "", last_evaluation_ms: 0, series: of, series_total: of.length,
});

test("objectives are sorted by what is worst in them, and those without data come after those with", () => {
  const all = [slo("b", "ok", series(0.5, 1)), slo("a10", "no_data"), slo("a2", "exhausted", series(-1, 3)), slo("c", "burning_slow", series(0.4, 9))];
  const names = (by: Parameters<typeof sorted>[1]) => sorted(all, by).map((s) => s.name);
  expect(names("budget")).toEqual(["a2", "c", "b", "a10"]);
  expect(names("burn")).toEqual(["c", "a2", "b", "a10"]);
  expect(names("name")).toEqual(["a2", "a10", "b", "c"]);
  expect(names("state")).toEqual(["a2", "c", "a10", "b"]);
});

test("a percentage has two digits more than its objective, and is not rounded up to all", () => {
  expect(precise(99.95312, 99.9)).toBe("99.953 %");
  expect(precise(99.99999, 99.9)).toBe("99.999 %");
  expect(precise(100, 99.9)).toBe("100 %");
  expect(precise(57.1234, 50)).toBe("57.12 %");
  expect(precise(null, 50)).toBe("–");
});

test("the budget starts whole and ends at what is left", () => {
  // 1 % allowed of 400 events: 4; 1 and then 2 are bad.
  const left = burnDown([100, 99, null, 198], [100, 100, null, 200], 99).map((v) => Math.round(v! * 1e9) / 1e9);
  expect(left).toEqual([1, 0.75, 0.75, 0.25]);
  expect(burnDown([0, 0], [0, null], 99)).toEqual([null, null]);
  // A good count that is missing is none.
  expect(burnDown([null], [1], 50)).toEqual([-1]);
  expect(evenly([10, 20, 30])).toEqual([1, 0.5, 0]);
});

test("a young objective knows a part of its window", () => {
  const one = { ...series(1), known_since_ms: 750_000 };
  expect(known(slo("a", "ok", one), one, 1_000_000)).toBe(0.25);
  expect(known(slo("a", "ok"), undefined, 1_000_000)).toBe(0);
});

test("a recorded series is selected with all its labels, quoted as PromQL wants them", () => {
  const one = { ...series(1), labels: { 'odd"label': 'va"lue' } };
  expect(recorded("slo:burn_rate", slo("a b", "ok", one), one, "1h")).toBe('slo:burn_rate{slo="a b",team="web","odd\\"label"="va\\"lue",window="1h"}');
});
