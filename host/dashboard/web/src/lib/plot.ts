/** From lines to what uPlot draws: gaps, stacking, axes in people's units. Pure. */

export interface PlotLine {
  name: string;
  values: (number | null)[];
}

export interface PlotData {
  /** Seconds since the epoch. */
  times: number[];
  lines: PlotLine[];
}

/**
 * Puts a hole where the points pause for much longer than they usually do, so that no line bridges a time without
 * measurements.
 */
export function withGaps(data: PlotData): PlotData {
  const { times } = data;
  if (times.length < 4) return data;
  const steps = times.slice(1).map((t, i) => t - times[i]!);
  const usual = [...steps].sort((a, b) => a - b)[steps.length >> 1]!;
  const longest = Math.max(4 * usual, 20);
  if (!steps.some((s) => s > longest)) return data;
  const out: PlotData = { times: [], lines: data.lines.map((l) => ({ name: l.name, values: [] })) };
  times.forEach((t, i) => {
    if (i > 0 && steps[i - 1]! > longest) {
      out.times.push(times[i - 1]! + usual);
      out.lines.forEach((l) => l.values.push(null));
    }
    out.times.push(t);
    out.lines.forEach((l, n) => l.values.push(data.lines[n]!.values[i] ?? null));
  });
  return out;
}

/**
 * Lines of different rhythm share one column of times: between two points of its own, a line has holes that mean
 * nothing. They are filled as `undefined`, which uPlot bridges; a hole longer than `longest` seconds stays.
 */
export function bridge(times: number[], values: (number | null)[], longest: number): (number | null | undefined)[] {
  const out: (number | null | undefined)[] = [...values];
  let last = -1;
  values.forEach((v, i) => {
    if (v === null) return;
    if (last >= 0 && i - last > 1 && times[i]! - times[last]! <= longest) out.fill(undefined, last + 1, i);
    last = i;
  });
  return out;
}

/** Each line on top of those before it; holes count as nothing. */
export function stack(lines: PlotLine[]): PlotLine[] {
  const sum: number[] = [];
  return lines.map((line) => ({
    name: line.name,
    values: line.values.map((v, i) => (v === null ? null : (sum[i] = (sum[i] ?? 0) + v))),
  }));
}

/** Distances of ticks that read well in `unit`. */
export function increments(unit: string): number[] {
  const out: number[] = [];
  if (unit.startsWith("bytes")) {
    for (let k = 0; k < 7; k += 1) for (const n of [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]) out.push(n * 1024 ** k);
  } else {
    for (let e = -9; e < 15; e += 1) for (const n of [1, 2, 2.5, 5]) out.push(Number((n * 10 ** e).toPrecision(2)));
  }
  return out;
}

/** The order of lines in a chart: sums first, then as people count (`core 2` before `core 10`). */
export function inOrder<T extends { name: string }>(lines: T[]): T[] {
  const rank = (name: string) => (name === "total" ? 0 : 1);
  return [...lines].sort((a, b) => rank(a.name) - rank(b.name) || a.name.localeCompare(b.name, "en", { numeric: true }));
}
