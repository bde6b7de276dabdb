import { describe, expect, it } from "vitest";
import { isShort, tellingLabels } from "./alerts";
import type { Alert, Labels } from "./types";

const alert = (rule: string, labels: Labels): Alert => ({ fingerprint: "", rule, severity: "warning", state: "firing", value: 1, condition: "", active_since_ms: 0, fired_ms: 0, resolved_ms: null, labels: { alertname: rule, severity: "warning", ...labels }, annotations: {}, deliveries: [] });
const told = (list: Alert[]) => {
  const telling = tellingLabels(list);
  return list.map((a) => telling.get(a)!.map(([k, v]) => `${k}=${v}`).join(" "));
};

describe("labels that tell an alert from its like", () => {
  it("are those in which the alerts of one rule differ", () => {
    expect(told([alert("Down", { job: "node", instance: "a" }), alert("Down", { job: "node", instance: "b" }), alert("Full", { path: "/" }), alert("Full", { path: "/home" })])).toEqual(["instance=a", "instance=b", "path=/", "path=/home"]);
  });
  it("include one that only some have", () => expect(told([alert("Down", { job: "node" }), alert("Down", { job: "node", zone: "eu" })])).toEqual(["", "zone=eu"]));
  it("begin with the one that tells most alerts apart", () => expect(told([alert("Burn", { slo: "a", window: "1h" }), alert("Burn", { slo: "a", window: "6h" }), alert("Burn", { slo: "b", window: "3d" })])).toEqual(["window=1h slo=a", "window=6h slo=a", "window=3d slo=b"]));
  it("are all of them when there is no other alert of the rule", () => expect(told([alert("Down", { job: "node", instance: "a" }), alert("Full", {})])).toEqual(["instance=a job=node", ""]));
  it("take no label of another rule for a difference", () => expect(told([alert("A", { x: "1" }), alert("B", { x: "2" })])).toEqual(["x=1", "x=2"]));
});

it.each([
  ["> 90", true],
  ["<= 0.5", true],
  ["!= 1e+300", true],
  ["== 0", true],
  ["up == 0", false],
  ["> 14.4 and ignoring (window) slo:burn_rate > 14.4", false],
  ["> 1234567890123456789", false],
  ["", false],
])("the condition `%s` stands beside the value: %s", (condition, short) => expect(isShort(condition)).toBe(short));
