import { expect, test } from "vitest";
import { isFolded, parts, sum } from "./rules";
import type { Rule } from "./types";

const rule = (name: string, file: string | null, group: string | null, more: Partial<Rule> = {}): Rule => ({ name, kind: "alerting", group, file, enabled: true, description: "", query: "x", duration_seconds: 0, severity: "info", labels: {}, state: "inactive", active: 0, last_evaluation_ms: null, last_duration_seconds: null, last_error: null, ...more });

test("rules stand by group, and those in none first", () => {
  const all = parts([rule("A", "a.yml", "g"), rule("T", null, null), rule("A", "b.yml", "g"), rule("B", "a.yml", "g")]);
  expect(all.map((p) => [p.key, p.rules.map((r) => r.name).join()])).toEqual([["", "T"], ["a.yml;g", "A,B"], ["b.yml;g", "A"]]);
});

test("objectives are folded while there is nothing to see", () => {
  const folded = (file: string, more: Partial<Rule>) => isFolded(parts([rule("A", file, "g"), rule("B", file, "g", more)])[0]!);
  expect(folded("[[slo]]", {})).toBe(true);
  expect(folded("[[slo]]", { state: "firing" })).toBe(false);
  expect(folded("[[slo]]", { last_error: "why" })).toBe(false);
  expect(folded("rules.yml", {})).toBe(false);
  expect(sum(parts([rule("A", "f", "g", { state: "pending" }), rule("B", "f", "g", { last_error: "why" })])[0]!)).toEqual({ firing: 0, pending: 1, failing: 1 });
});
