// Objectives of the mock: one that holds, one that burns, one that is used up, a young one, and one that knows nothing.
// Values are functions of time, so that the page's numbers and its charts agree well enough.
import { started } from "./data.mjs";

const BURNS = [[14.4, "page", "1h", "5m"], [6, "page", "6h", "30m"], [3, "ticket", "1d", "2h"], [1, "ticket", "3d", "6h"]];
const DAY = 86_400;
const wave = (t, period) => Math.sin((t / period) * 2 * Math.PI);

const made = [
  { name: "API availability", description: "Requests are answered without an error of ours.", objective: 99.9, left: 0.62, burn: 0.7, state: "ok", labels: { team: "web" }, total: (t) => 900 + 500 * wave(t, DAY), bad: (t) => (t % 260_000 < 9000 ? 12 : 0.1) },
  { name: "Checkout is fast", description: "A checkout takes less than half a second.", objective: 99.5, left: 0.311, burn: 17.2, state: "burning_fast", labels: { team: "shop" }, total: (t) => 40 + 20 * wave(t, DAY), bad: (t) => (t > started / 1000 - 2400 ? 4 : 0.1) },
  { name: "Search works", description: "", objective: 99, left: -0.184, burn: 1.3, state: "exhausted", labels: {}, total: () => 120, bad: (t) => 1.4 + 0.6 * wave(t, DAY) },
  { name: "Mail is delivered", description: "Within a minute of being sent.", objective: 99, left: 0.87, burn: 3.4, state: "burning_slow", labels: {}, total: () => 3, bad: (t) => (t > started / 1000 - 20_000 ? 0.1 : 0.002), young: 2.4 * DAY },
  { name: "Login works", description: "", objective: 99.95, state: "no_data", labels: {}, reason: "`good` and `total` have other labels, so they cannot be compared: code and no labels. Aggregate both sides by the same labels." },
];

function one(s, whole) {
  const now = Date.now();
  const series = s.state === "no_data" ? [] : [{
    labels: s.name === "Search works" ? { index: "people" } : {}, state: s.state, good_ratio: 1 - (1 - s.left) * (1 - s.objective / 100), budget_remaining_ratio: s.left,
    known_since_ms: now - (s.young ?? 30 * DAY) * 1000, exhausted_in_seconds: s.left > 0 && s.burn > s.left ? (s.left / s.burn) * 30 * DAY : null,
    burns: BURNS.map(([threshold, severity, long, short], i) => ({ threshold, severity, long, short, long_rate: s.burn * [1, 0.9, 0.75, 0.5][i] * (s.state === "burning_slow" && i === 2 ? 1.3 : 1), short_rate: s.burn * 1.1, possible: threshold * (1 - s.objective / 100) < 1 })),
    good: 10, total: 10.1,
  }];
  if (s.name === "Search works") series.push({ ...series[0], labels: { index: "goods" }, state: "ok", budget_remaining_ratio: 0.44 });
  const label = JSON.stringify(s.name);
  const detail = {
    kind: "ratio", good: 'sum(rate(http_requests_total{code!~"5.."}[$window]))', total: "sum(rate(http_requests_total[$window]))",
    good_query: 'sum(rate(http_requests_total{code!~"5.."}[5m]))', total_query: "sum(rate(http_requests_total[5m]))", shortest_window: "5m",
    alerts: BURNS.filter(([t]) => t * (1 - s.objective / 100) < 1).map(([t, severity, long, short], i) => ({ severity, window: long, query: `slo:burn_rate{slo=${label},window="${long}"} > ${t} and ignoring (window) slo:burn_rate{slo=${label},window="${short}"} > ${t}`, state: s.state === "burning_fast" && i === 0 ? "firing" : "inactive", active: s.state === "burning_fast" && i === 0 ? ["00000000075bcd15"] : [], error: null })),
    recorded: [{ name: "slo:good:rate", window: null, query: 'sum(rate(http_requests_total{code!~"5.."}[5m]))', error: null }, { name: "slo:error_ratio", window: "5m", query: "clamp_min(1 - good / total, 0)", error: null }],
  };
  return { name: s.name, description: s.description, objective_percent: s.objective, window_seconds: 30 * DAY, window: "30d", interval_seconds: 60, labels: s.labels, state: s.state, reason: s.reason ?? "", last_evaluation_ms: now - (now % 60_000), series, series_total: series.length, ...(whole ? { detail } : {}) };
}

export const slos = () => ({ now_ms: Date.now(), slos: made.map((s) => one(s, false)) });
export const slo = (name) => made.filter((s) => s.name === name).map((s) => one(s, true))[0];

/** The lines of a query over recorded series. */
export function linesOf(query) {
  const s = made.find((m) => query.includes(`slo=${JSON.stringify(m.name)}`));
  if (!s || s.state === "no_data") return [];
  const index = /index="(\w+)"/.exec(query)?.[1];
  const labels = { slo: s.name, ...s.labels, ...(index ? { index } : {}) };
  const born = Date.now() / 1000 - (s.young ?? 31 * DAY);
  const since = (f) => (t) => (t < born ? NaN : f(t));
  if (query.includes("slo:good:rate")) return [[labels, since((t) => s.total(t) - s.bad(t))]];
  if (query.includes("slo:total:rate")) return [[labels, since(s.total)]];
  if (query.includes("slo:burn_rate")) return BURNS.map(([, , long], i) => [{ ...labels, window: long }, since((t) => Math.max(0, (s.bad(t) / s.total(t) / (1 - s.objective / 100)) * [1, 0.8, 0.6, 0.4][i] + 0.1 * wave(t, 3000)))]);
  return [[labels, since(() => s.left)]];
}
