import { describe, expect, it } from "vitest";
import * as f from "./format";

describe("numbers", () => {
  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "0.977 KiB"],
    [1536, "1.5 KiB"],
    [1024 ** 3 * 6.1, "6.1 GiB"],
    [-2048, "-2 KiB"],
  ])("bytes are written in powers of 1024: %d is %s", (v, text) => expect(f.bytes(v)).toBe(text));

  it("a live number keeps its width", () => {
    expect(f.value(31, "percent")).toBe("31 %");
    expect(f.value(31, "percent", true)).toBe("31.0 %");
    expect(f.value(1024 ** 3 * 6, "bytes", true)).toBe("6.00 GiB");
  });

  it.each([
    [0.00038, "380 µs"],
    [0.0125, "12.5 ms"],
    [0.99999, "1 s"],
    [1.4, "1.4 s"],
    [200, "3 min 20 s"],
  ])("a length of time %d s is %s", (v, text) => expect(f.seconds(v)).toBe(text));

  it.each([
    [9999, "9\u2009999"],
    [1_184_302, "1.18\u2009M"],
    [999_999, "1\u2009M"],
    [0.5, "0.5"],
  ])("%d is counted as %s", (v, text) => expect(f.count(v)).toBe(text));

  it("what is no number is a dash", () => {
    expect(f.value(null, "bytes")).toBe(f.NONE);
    expect(f.value(Number.NaN)).toBe(f.NONE);
    expect(f.value(undefined, "percent")).toBe(f.NONE);
  });

  it("rates say per what", () => {
    expect(f.value(2048, "bytes_per_second")).toBe("2 KiB/s");
    expect(f.value(148.25, "per_second")).toBe("148/s");
    expect(f.parts(2048, "bytes_per_second")).toEqual({ number: "2.00", unit: "KiB/s" });
    expect(f.parts(148.25, "per_second")).toEqual({ number: "148", unit: "/s" });
  });
});

describe("times", () => {
  const now = 1_700_000_000_000;
  it.each([
    [0, "now"],
    [-1000, "now"],
    [-12_000, "12 s ago"],
    [-119_000, "119 s ago"],
    [-180_000, "3 min ago"],
    [-8_000_000, "2 h ago"],
    [-400_000_000, "5 d ago"],
    [5_400_000, "in 90 min"],
  ])("%d ms from now is %s", (d, text) => expect(f.relative(now + d, now)).toBe(text));
  it("a time that never was is never", () => expect(f.relative(null, now)).toBe("never"));
  it.each([[45, "45 s"], [7440, "2 h 4 min"], [1_296_000, "15 d"], [60, "1 min"]])("%d s lasts %s", (s, text) => expect(f.duration(s)).toBe(text));
});

describe("names", () => {
  it("a legend takes labels, and falls back to the whole set", () => {
    expect(f.legend("core {{core}}", { core: "3" })).toBe("core 3");
    expect(f.legend("{{ nothing }}", { a: "1" })).toBe('{a="1"}');
  });
  it("a selector is what PromQL reads", () => {
    expect(f.selector({ __name__: "up" })).toBe("up");
    expect(f.selector({ __name__: "up", job: 'a"b' })).toBe('up{job="a\\"b"}');
  });
  it("a unit is told, or read off the name", () => {
    expect(f.unitOf("x_bytes_total")).toBe("bytes");
    expect(f.unitOf("x_bytes", "seconds")).toBe("seconds");
    expect(f.unitOf("requests_total")).toBe("");
  });
});
