/**
 * The points of one chart: times in one column, a column of values for each line.
 *
 * Invariant: times ascend strictly, every column is as long as `times`, and there are at most POINTS_MAX of them.
 */

import type { Labels } from "./types";

/** Six hours at 5 s, with room; older points are dropped. */
export const POINTS_MAX = 5000;
/** Lines that one chart holds; a host with more cores than this is read in Explore. */
export const LINES_MAX = 128;

export interface Line {
  key: string;
  labels: Labels;
  values: (number | null)[];
}

export function keyOf(labels: Labels): string {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

export class ChartBuffer {
  /** Seconds since the epoch: what uPlot wants. */
  times: number[] = [];
  lines: Line[] = [];
  /** Lines that did not fit. */
  dropped = 0;

  /** One newest point of some lines. False when `at` is not after the last one: nothing was taken. */
  append(at: number, values: { labels: Labels; value: number | null }[]): boolean {
    if (this.times.length && at <= this.times[this.times.length - 1]!) return false;
    this.times.push(at);
    for (const line of this.lines) line.values.push(null);
    for (const { labels, value } of values) {
      const line = this.#line(labels);
      if (line) line.values[this.times.length - 1] = value;
    }
    if (this.times.length > POINTS_MAX) {
      const cut = this.times.length - POINTS_MAX;
      this.times.splice(0, cut);
      for (const line of this.lines) line.values.splice(0, cut);
    }
    return true;
  }

  /** Puts the past in; live points that are newer than all of it stay. */
  backfill(rows: { labels: Labels; points: [number, number | null][] }[]): void {
    const last = Math.max(-Infinity, ...rows.map((r) => r.points.at(-1)?.[0] ?? -Infinity));
    const newer = new ChartBuffer();
    this.times.forEach((at, i) => {
      if (at > last) newer.append(at, this.lines.map((l) => ({ labels: l.labels, value: l.values[i] ?? null })));
    });
    const at = new Map<number, number>();
    this.times = [...new Set(rows.flatMap((r) => r.points.map((p) => p[0])))].sort((a, b) => a - b).slice(-POINTS_MAX);
    this.times.forEach((t, i) => at.set(t, i));
    this.lines = [];
    this.dropped = 0;
    for (const row of rows) {
      const line = this.#line(row.labels);
      for (const [t, v] of row.points) if (line && at.has(t)) line.values[at.get(t)!] = v;
    }
    newer.times.forEach((t, i) => this.append(t, newer.lines.map((l) => ({ labels: l.labels, value: l.values[i] ?? null }))));
  }

  /** Forgets points before `from`, and lines that have none left. */
  trim(from: number): void {
    let cut = 0;
    while (cut < this.times.length && this.times[cut]! < from) cut += 1;
    if (!cut) return;
    this.times.splice(0, cut);
    for (const line of this.lines) line.values.splice(0, cut);
    this.lines = this.lines.filter((l) => l.values.some((v) => v !== null));
  }

  /** The newest value of each line. */
  latest(): { labels: Labels; value: number | null }[] {
    return this.lines.map((l) => ({ labels: l.labels, value: l.values.findLast((v) => v !== null) ?? null }));
  }

  #line(labels: Labels): Line | null {
    const key = keyOf(labels);
    const known = this.lines.find((l) => l.key === key);
    if (known) return known;
    if (this.lines.length >= LINES_MAX) {
      this.dropped += 1;
      return null;
    }
    const line = { key, labels, values: new Array<number | null>(this.times.length).fill(null) };
    this.lines.push(line);
    return line;
  }
}

/** Prometheus' matrix as rows for {@link ChartBuffer.backfill}. "NaN" and infinities are gaps. */
export function rowsOf(matrix: { metric: Labels; values: [number, string][] }[]): { labels: Labels; points: [number, number | null][] }[] {
  return matrix.map((row) => ({
    labels: row.metric,
    points: row.values.map(([t, v]) => [t, Number.isFinite(Number(v)) ? Number(v) : null]),
  }));
}

/** A step that gives about 300 points over `seconds`, from a list that people expect. */
export function stepFor(seconds: number): number {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400];
  return steps.find((s) => seconds / s <= 300) ?? 86_400;
}
