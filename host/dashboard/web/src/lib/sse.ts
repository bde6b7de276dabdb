/**
 * Server-sent events over fetch: the browser's EventSource cannot send a token. Reconnects with back-off.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */

export interface SseEvent {
  event: string;
  data: string;
}

/** Takes text in any pieces, gives whole events. */
export class SseParser {
  #rest = "";
  #event = "";
  #data: string[] = [];

  push(chunk: string): SseEvent[] {
    const out: SseEvent[] = [];
    const text = this.#rest + chunk;
    // A lone \r at the end may be the first half of \r\n.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) out.push({ event: this.#event || "message", data: this.#data.join("\n") });
        this.#event = "";
        this.#data = [];
        continue;
      }
      if (line.startsWith(":")) continue;
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.#event = value;
      else if (field === "data") this.#data.push(value);
    }
    return out;
  }
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/** Pause before try number `attempt` (1, 2, …): doubles, with up to a quarter taken off so that pages do not come all at once. */
export function pauseMs(attempt: number, random: number): number {
  const full = Math.min(FIRST_PAUSE_MS * 2 ** (attempt - 1), LONGEST_PAUSE_MS);
  return Math.round(full * (1 - random / 4));
}
