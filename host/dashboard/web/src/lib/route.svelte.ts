/** The page, in the part of the address after `#`: works from any server, without a route on it. */

export const PAGES = ["overview", "explore", "alerts", "slos", "sources", "plugins", "reports", "status"] as const;
export type Page = (typeof PAGES)[number];

class Route {
  page = $state<Page>("overview");
  /** What stands behind the page: `#/plugins/host`. */
  rest = $state("");
  query = $state.raw(new URLSearchParams());

  start(): void {
    addEventListener("hashchange", () => this.#read());
    this.#read();
  }

  #read(): void {
    const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
    const [page = "", ...rest] = path.split("/").map(decodeURIComponent);
    this.page = PAGES.includes(page as Page) ? (page as Page) : "overview";
    this.rest = rest.join("/");
    this.query = new URLSearchParams(query);
  }
}

export function href(page: Page, rest = "", query: Record<string, string> = {}): string {
  const q = new URLSearchParams(query).toString();
  return `#/${page}${rest ? `/${encodeURIComponent(rest)}` : ""}${q ? `?${q}` : ""}`;
}

export const route = new Route();
