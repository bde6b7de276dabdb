import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError, getJson, onTokenNeeded, request, setToken } from "./api";
import { live } from "./live.svelte";
import { pauseMs, SseParser } from "./sse";

describe("the event stream", () => {
  it("is read in any pieces", () => {
    const text = 'event: alerts\ndata: {"a":\ndata: 1}\n\n: a comment\n\ndata: plain\r\n\r\n';
    for (let size = 1; size < text.length; size += 1) {
      const parser = new SseParser();
      const out = [];
      for (let i = 0; i < text.length; i += size) out.push(...parser.push(text.slice(i, i + size)));
      expect(out, `in pieces of ${size}`).toEqual([{ event: "alerts", data: '{"a":\n1}' }, { event: "message", data: "plain" }]);
    }
  });
  it("an event that was cut off is not given", () => expect(new SseParser().push("event: x\ndata: 1\n")).toEqual([]));
  it("pauses grow and end at 15 s", () => {
    expect([1, 2, 3, 10].map((n) => pauseMs(n, 0))).toEqual([500, 1000, 2000, 15_000]);
    expect(pauseMs(1, 1)).toBe(375);
  });
});

describe("the store of live data", () => {
  beforeEach(() => vi.stubGlobal("fetch", async () => new Response('{"data":{"resultType":"matrix","result":[]}}')));
  afterEach(() => vi.unstubAllGlobals());
  it("takes each kind of event, and leaves what it does not know", () => {
    live.take("sources", '[{"name":"host"}]');
    live.take("sources", "{ broken");
    live.take("something new", "{}");
    expect(live.sources?.map((s) => s.name)).toEqual(["host"]);
  });
  it("an overview moves its charts", () => {
    const overview = (at: number, v: number) => JSON.stringify({ now_ms: at, charts: [{ id: "cpu", query: "x" }], process: { memory_resident_bytes: 1 }, points: [{ id: "cpu", at_ms: at, values: [{ labels: { core: "0" }, value: v }] }] });
    const now = Date.now();
    live.take("overview", overview(now, 1));
    live.take("overview", overview(now + 1000, 2));
    live.take("overview", overview(now + 1000, 3));
    expect(live.buffers.get("cpu")?.lines[0]?.values).toEqual([1, 2]);
    expect(live.overview?.now_ms).toBe(now + 1000);
  });
});

describe("requests", () => {
  afterEach(() => (vi.unstubAllGlobals(), setToken(null)));
  const answering = () => {
    const seen: (string | null)[] = [];
    vi.stubGlobal("fetch", async (_: string, init: RequestInit) => {
      const given = new Headers(init.headers).get("authorization");
      seen.push(given);
      return given === "Bearer right" ? new Response("[]") : new Response("{}", { status: 401 });
    });
    return seen;
  };
  it("ask for the token once, however many wait for it", async () => {
    answering();
    const ask = vi.fn(async (wrong: boolean) => (wrong ? "right" : "bad"));
    onTokenNeeded(ask);
    await Promise.all([getJson("/a"), getJson("/b"), getJson("/c")]);
    expect(ask.mock.calls).toEqual([[false], [true]]);
  });
  it("give up when the user does", async () => {
    answering();
    onTokenNeeded(async () => null);
    await expect(request("/a")).rejects.toThrow(ApiError);
  });
  it("pass on what the API says is wrong and what to do", async () => {
    vi.stubGlobal("fetch", async () => new Response('{"message":"there is no plugin `x`","help":"look at /api/plugins"}', { status: 404 }));
    await expect(getJson("/api/plugins/x")).rejects.toMatchObject({ status: 404, message: "there is no plugin `x`", help: "look at /api/plugins" });
  });
});
