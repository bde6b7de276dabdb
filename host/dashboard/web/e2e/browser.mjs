// A browser, and something to look at: BASE_URL, or the mock started here on a free port.
import { spawn } from "node:child_process";
import { chromium } from "playwright-core";

export const PAGES = ["overview", "explore", "alerts", "slos", "sources", "plugins", "reports", "status"];
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export async function open() {
  let base = process.env.BASE_URL?.replace(/\/$/, "");
  let mock = null;
  if (!base) {
    const port = 8100 + (process.pid % 800);
    base = `http://127.0.0.1:${port}`;
    mock = spawn(process.execPath, [new URL("../mock/server.mjs", import.meta.url).pathname, String(port)], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve, reject) => (mock.stdout.once("data", resolve), mock.once("exit", () => reject(new Error("the mock ended")))));
  }
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  return { browser, base, mock, close: async () => (await browser.close(), mock?.kill()) };
}
