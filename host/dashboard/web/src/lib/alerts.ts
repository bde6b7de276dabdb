/** What the lists of alerts work out from what the API says. Pure. */

import type { Alert, Labels } from "./types";

/** What stands beside a value: `> 90`. An expression, which may be of any length, has a line of its own. */
const SHORT_CONDITION = /^(?:[<>]=?|[=!]=) ?\S{1,12}$/;

export const isShort = (condition: string): boolean => SHORT_CONDITION.test(condition);

/** A row names the rule and shows the severity in places of their own. */
const SHOWN_ELSEWHERE = ["alertname", "severity", "__name__"];

/**
 * By alert, the labels that tell it from the others of its rule: those that not all of them have alike, and first those that
 * tell most of them apart. A rule's only alert has none to be told from: all of its labels then say where it is.
 */
export function tellingLabels(alerts: Alert[]): Map<Alert, [string, string][]> {
  const rules = new Map<string, Alert[]>();
  for (const alert of alerts) {
    const same = rules.get(alert.rule);
    if (same) same.push(alert);
    else rules.set(alert.rule, [alert]);
  }
  const all = new Map<Alert, [string, string][]>();
  for (const same of rules.values()) {
    const names = new Set(same.flatMap((a) => Object.keys(a.labels)));
    const values = new Map([...names].map((name) => [name, new Set(same.map((a) => a.labels[name])).size]));
    const telling = [...names].filter((n) => !SHOWN_ELSEWHERE.includes(n) && (same.length === 1 || values.get(n)! > 1)).sort((a, b) => values.get(b)! - values.get(a)! || (a < b ? -1 : 1));
    for (const alert of same) all.set(alert, pairs(alert.labels, telling));
  }
  return all;
}

const pairs = (labels: Labels, names: string[]): [string, string][] => names.filter((n) => labels[n] !== undefined).map((n) => [n, labels[n]!]);
