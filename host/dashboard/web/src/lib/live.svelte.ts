/**
 * The one store of live data: a single event stream feeds every page.
 *
 * Invariant: no page polls; each event is a whole picture of its kind, so a reconnect makes everything right again.
 */

import { ApiError, getJson, request } from "./api";
import { ChartBuffer, rowsOf, stepFor } from "./buffer";
import { pauseMs, SseParser } from "./sse";
import type { Alerts, ChartSpec, MatrixRow, Overview, Plugin, Report, Source } from "./types";

export type Connection = "connecting" | "live" | "lost" | "refused";

/** No event for this long: the connection is dead even if nobody told us (a sleeping laptop, a silent proxy). */
const SILENCE_MAX_MS = 30_000;
/** A connection that has given no first event by then is tried anew: the host sends one at once. */
const CONNECT_MAX_MS = 5_000;
/** Points of the little line of Belfry's own memory. */
const PROCESS_MEMORY_MAX = 60;

class Live {
  overview = $state.raw<Overview | null>(null);
  sources = $state.raw<Source[] | null>(null);
  alerts = $state.raw<Alerts | null>(null);
  plugins = $state.raw<Plugin[] | null>(null);
  reports = $state.raw<Report[] | null>(null);
  charts = $state.raw<ChartSpec[]>([]);

  connection = $state<Connection>("connecting");
  /** When the next try is made, by this machine's clock. */
  retryAt = $state<number | null>(null);
  lastEventAt = $state<number | null>(null);
  /** Counts connections made: what is fetched beside the stream is fetched again when it moves. */
  epoch = $state(0);
  /** The host's time, moved on each second: what relative times count from. */
  now = $state(Date.now());
  /** How much of the past the charts show. */
  rangeSeconds = $state(900);
  /** Moves when a buffer changed; the buffers themselves are plain. */
  chartVersion = $state(0);
  readonly buffers = new Map<string, ChartBuffer>();
  /** Belfry's resident memory at the last events, oldest first. */
  processMemory = $state.raw<number[]>([]);

  #skew = 0;
  #attempt = 0;
  #wake: (() => void) | null = null;
  #abort: AbortController | null = null;
  #triedAt = 0;

  start(): void {
    setInterval(() => {
      this.now = Date.now() + this.#skew;
      const silent = Date.now() - Math.max(this.#triedAt, this.lastEventAt ?? 0);
      if (silent > (this.connection === "live" ? SILENCE_MAX_MS : CONNECT_MAX_MS)) this.#abort?.abort();
    }, 1000);
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.retry());
    void this.#run();
  }

  /** Tries now instead of at `retryAt`. */
  retry(): void {
    this.#wake?.();
  }

  async setRange(seconds: number): Promise<void> {
    this.rangeSeconds = seconds;
    await this.backfill();
  }

  async #run(): Promise<void> {
    for (;;) {
      try {
        await this.#connect();
      } catch (error) {
        this.connection = error instanceof ApiError && error.status === 401 ? "refused" : "lost";
      }
      if (this.connection === "live" || this.connection === "connecting") this.connection = "lost";
      this.#attempt += 1;
      // Without a token there is nothing to wait for but the user.
      const pause = this.connection === "refused" ? 3_600_000 : pauseMs(this.#attempt, Math.random());
      this.retryAt = Date.now() + pause;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pause);
        this.#wake = () => (clearTimeout(timer), resolve());
      });
      this.#wake = null;
      this.retryAt = null;
    }
  }

  async #connect(): Promise<void> {
    const abort = (this.#abort = new AbortController());
    this.#triedAt = Date.now();
    const response = await request("/api/events", { signal: abort.signal, headers: { accept: "text/event-stream" } });
    if (!response.ok || !response.body) throw new ApiError(response.status, "no event stream");
    const parser = new SseParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.lastEventAt = Date.now();
      if (this.connection !== "live") {
        this.connection = "live";
        this.#attempt = 0;
        this.epoch += 1;
      }
      for (const { event, data } of parser.push(value)) this.take(event, data);
    }
  }

  /** One event. Public for the tests. */
  take(event: string, data: string): void {
    let body: unknown;
    try {
      body = JSON.parse(data);
    } catch {
      return;
    }
    switch (event) {
      case "overview":
        this.#overview(body as Overview);
        break;
      case "sources":
        this.sources = body as Source[];
        break;
      case "alerts":
        this.alerts = body as Alerts;
        break;
      case "plugins":
        this.plugins = body as Plugin[];
        break;
      case "reports":
        this.reports = body as Report[];
        break;
    }
  }

  #filledFor = -1;

  #overview(overview: Overview): void {
    this.#skew = overview.now_ms - Date.now();
    this.now = overview.now_ms;
    this.overview = overview;
    this.processMemory = [...this.processMemory, overview.process.memory_resident_bytes].slice(-PROCESS_MEMORY_MAX);
    if (overview.charts?.length) this.charts = overview.charts;
    const from = overview.now_ms / 1000 - this.rangeSeconds;
    for (const points of overview.points) {
      if (!points.values.length) continue;
      const buffer = this.#buffer(points.id);
      buffer.append(points.at_ms / 1000, points.values);
      buffer.trim(from - this.rangeSeconds * 0.1);
    }
    this.chartVersion += 1;
    // After each connect once: what was missed meanwhile, or, for the first, the past.
    if (this.#filledFor !== this.epoch) {
      this.#filledFor = this.epoch;
      void this.backfill();
    }
  }

  #buffer(id: string): ChartBuffer {
    let buffer = this.buffers.get(id);
    if (!buffer) this.buffers.set(id, (buffer = new ChartBuffer()));
    return buffer;
  }

  /** Fetches the charts' past. Failures leave what is there: the live points go on. */
  async backfill(): Promise<void> {
    if (!this.charts.length) {
      const overview = await getJson<Overview>("/api/overview").catch(() => null);
      if (overview?.charts) this.charts = overview.charts;
    }
    const seconds = this.rangeSeconds;
    const end = this.now / 1000;
    const step = stepFor(seconds);
    await Promise.all(
      this.charts.map(async (chart) => {
        const rows = await queryRange(chart.query, end - seconds, end, step).catch(() => null);
        if (!rows || seconds !== this.rangeSeconds) return;
        this.#buffer(chart.id).backfill(rowsOf(rows));
        this.chartVersion += 1;
      }),
    );
  }
}

export async function queryRange(query: string, start: number, end: number, step: number, signal?: AbortSignal): Promise<MatrixRow[]> {
  const parameters = new URLSearchParams({ query, start: start.toFixed(3), end: end.toFixed(3), step: String(step) });
  const answer = await getJson<{ data: { resultType: string; result: MatrixRow[] } }>(`/api/v1/query_range?${parameters}`, signal);
  return answer.data.result;
}

export const live = new Live();
