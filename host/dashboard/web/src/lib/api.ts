/** Requests. A 401 asks for the token once (whoever else waits shares the answer) and tries again. */

const TOKEN = "belfry.token";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly help: string | null = null,
  ) {
    super(message);
  }
}

/** Shows a dialog and resolves to the token, or null when the user closes it. `wrong`: the last one was refused. */
type Ask = (wrong: boolean) => Promise<string | null>;
let ask: Ask = async () => null;
let asking: Promise<string | null> | null = null;
let memory: string | null = null;

export function onTokenNeeded(dialog: Ask): void {
  ask = dialog;
}

export function token(): string | null {
  try {
    return sessionStorage.getItem(TOKEN) ?? memory;
  } catch {
    return memory;
  }
}

export function setToken(value: string | null): void {
  memory = value;
  try {
    if (value === null) sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, value);
  } catch {
    /* storage forbidden: it lives as long as the page */
  }
}

/** `#token=…`, as the program prints it at its start: taken, and wiped from the address and the history. */
export function takeTokenFromAddress(): void {
  const given = /^#token=([^&]+)$/.exec(location.hash)?.[1];
  if (!given) return;
  setToken(decodeURIComponent(given));
  history.replaceState(null, "", location.pathname + location.search);
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    const used = token();
    const headers = new Headers(init.headers);
    if (used) headers.set("authorization", `Bearer ${used}`);
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ApiError(0, "Belfry does not answer.", "Is it still running? This page goes on trying for live data.");
    }
    if (response.status !== 401) return response;
    // Another request may have brought a new token while this one was under way.
    if (token() !== used) continue;
    asking ??= ask(used !== null).finally(() => (asking = null));
    const given = await asking;
    if (given === null) throw new ApiError(401, "This needs the token.", "It is the one in [server.auth], or in the file admin-token of the data folder.");
    setToken(given);
  }
}

async function failure(response: Response): Promise<ApiError> {
  const body = await response.json().catch(() => null);
  // Prometheus' routes say `error` in words and its kind in `errorType`; ours say `message`.
  const message = body?.message ?? body?.error ?? `The answer was ${response.status} ${response.statusText}.`;
  return new ApiError(response.status, message, body?.help ?? null);
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, { signal, headers: { accept: "application/json" } });
  // `/ready` answers 503 with the same body.
  if (!response.ok && !(path === "/ready" && response.status === 503)) throw await failure(response);
  return (await response.json()) as T;
}

export async function getText(path: string): Promise<string> {
  const response = await request(path);
  if (!response.ok) throw await failure(response);
  return response.text();
}

export async function send<T>(method: "POST" | "PUT", path: string, body?: unknown): Promise<T> {
  const response = await request(path, {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) throw await failure(response);
  return (await response.json().catch(() => ({}))) as T;
}

/** Fetches with the token and hands the file to the browser. */
export async function download(path: string, name: string): Promise<void> {
  const response = await request(path);
  if (!response.ok) throw await failure(response);
  const url = URL.createObjectURL(await response.blob());
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
