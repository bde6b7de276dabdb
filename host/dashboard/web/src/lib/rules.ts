/** What the list of rules works out from what the API says. Pure. */

import type { Rule } from "./types";

/** Rules that stand together: those of one group of a file, or all that are in none. */
export interface Part {
  key: string;
  group: string | null;
  file: string | null;
  rules: Rule[];
}

/** The file of the rules that an objective was made into. */
export const OBJECTIVES = "[[slo]]";

/** In the order in which they come; what is in no group stands first. */
export function parts(rules: Rule[]): Part[] {
  const all = new Map<string, Part>();
  for (const rule of rules) {
    const key = rule.group === null ? "" : `${rule.file};${rule.group}`;
    const part = all.get(key) ?? { key, group: rule.group, file: rule.file, rules: [] };
    part.rules.push(rule);
    all.set(key, part);
  }
  return [...all.values()].sort((a, b) => Number(a.group !== null) - Number(b.group !== null));
}

export interface Sum {
  firing: number;
  pending: number;
  failing: number;
}

export function sum(part: Part): Sum {
  const count = (is: (r: Rule) => boolean) => part.rules.filter(is).length;
  return { firing: count((r) => r.state === "firing"), pending: count((r) => r.state === "pending"), failing: count((r) => r.last_error !== null) };
}

/** Objectives have a page of their own, and some thirty rules each: these are folded unless there is something to see. */
export function isFolded(part: Part): boolean {
  const { firing, pending, failing } = sum(part);
  return part.file === OBJECTIVES && firing + pending + failing === 0;
}
