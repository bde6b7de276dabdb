import { describe, expect, it } from "vitest";
import { ChartBuffer, LINES_MAX, POINTS_MAX, rowsOf, stepFor } from "./buffer";
import { bridge, inOrder, stack, withGaps } from "./plot";

const a = { core: "0" };
const b = { core: "1" };

describe("a chart's points", () => {
  it("a time that does not move brings no point", () => {
    const buffer = new ChartBuffer();
    expect(buffer.append(10, [{ labels: a, value: 1 }])).toBe(true);
    expect(buffer.append(10, [{ labels: a, value: 2 }])).toBe(false);
    expect(buffer.append(9, [{ labels: a, value: 2 }])).toBe(false);
    expect(buffer.latest()).toEqual([{ labels: a, value: 1 }]);
  });

  it("a line that comes later has holes before it", () => {
    const buffer = new ChartBuffer();
    buffer.append(1, [{ labels: a, value: 1 }]);
    buffer.append(2, [{ labels: b, value: 5 }]);
    expect(buffer.lines.map((l) => l.values)).toEqual([[1, null], [null, 5]]);
  });

  it("the past goes before live points and does not double them", () => {
    const buffer = new ChartBuffer();
    for (const t of [8, 10, 12]) buffer.append(t, [{ labels: a, value: t }]);
    buffer.backfill([{ labels: a, points: [[2, 2], [6, 6], [10, 10]] }]);
    expect(buffer.times).toEqual([2, 6, 10, 12]);
    expect(buffer.lines[0]!.values).toEqual([2, 6, 10, 12]);
  });

  it("an empty past keeps what is live", () => {
    const buffer = new ChartBuffer();
    buffer.append(8, [{ labels: a, value: 8 }]);
    buffer.backfill([]);
    expect(buffer.times).toEqual([8]);
  });

  it("old points and dead lines go", () => {
    const buffer = new ChartBuffer();
    buffer.append(1, [{ labels: a, value: 1 }]);
    buffer.append(2, [{ labels: b, value: 2 }]);
    buffer.trim(2);
    expect(buffer.times).toEqual([2]);
    expect(buffer.lines.map((l) => l.labels)).toEqual([b]);
  });

  it("nothing grows without bound", () => {
    const buffer = new ChartBuffer();
    for (let t = 0; t < POINTS_MAX + 10; t += 1) buffer.append(t, [{ labels: a, value: t }]);
    expect(buffer.times.length).toBe(POINTS_MAX);
    expect(buffer.lines[0]!.values.length).toBe(POINTS_MAX);
    buffer.append(1e9, Array.from({ length: LINES_MAX + 3 }, (_, i) => ({ labels: { i: String(i) }, value: i })));
    expect(buffer.lines.length).toBe(LINES_MAX);
    expect(buffer.dropped).toBe(4);
  });

  it("Prometheus' words for numbers become numbers or gaps", () => {
    expect(rowsOf([{ metric: a, values: [[1, "2.5"], [2, "NaN"], [3, "+Inf"]] }])[0]!.points).toEqual([[1, 2.5], [2, null], [3, null]]);
  });

  it.each([[300, 1], [900, 5], [3600, 15], [86_400, 300]])("%d s are read in steps of %d s", (range, step) => expect(stepFor(range)).toBe(step));
});

describe("what is drawn", () => {
  it("no line bridges a time without measurements", () => {
    const drawn = withGaps({ times: [0, 5, 10, 15, 100, 105], lines: [{ name: "a", values: [1, 2, 3, 4, 5, 6] }] });
    expect(drawn.times).toEqual([0, 5, 10, 15, 20, 100, 105]);
    expect(drawn.lines[0]!.values).toEqual([1, 2, 3, 4, null, 5, 6]);
  });
  it("holes between two rhythms are bridged, long ones stay", () => {
    expect(bridge([0, 1, 2, 3, 50, 51], [1, null, 3, null, null, 5], 10)).toEqual([1, undefined, 3, null, null, 5]);
  });
  it("stacked lines stand on each other", () => {
    expect(stack([{ name: "a", values: [1, 2] }, { name: "b", values: [10, null] }]).map((l) => l.values)).toEqual([[1, 2], [11, null]]);
  });
  it("sums come first, then as people count", () => {
    expect(inOrder(["core 10", "total", "core 2"].map((name) => ({ name }))).map((l) => l.name)).toEqual(["total", "core 2", "core 10"]);
  });
});
