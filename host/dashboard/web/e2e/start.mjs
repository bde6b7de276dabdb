// How soon is there something to see? Starts the demo of a built Belfry and prints: size of the binary, time to the first
// sample that answers a query, time to the first drawn chart in an open browser, and resident memory after a minute.
// `cargo xtask bench start` runs it; `node e2e/start.mjs PATH/TO/belfry` too.
import { spawn } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { chromium } from "playwright-core";

const binary = process.argv[2];
const ROUNDS = 5;
const IDLE_MS = 60_000;
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** A demo on a free port; resolves with its address as soon as it says so. */
async function demo() {
  const begin = performance.now();
  const child = spawn(binary, ["demo", "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "ignore"] });
  const url = await new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
      const found = text.match(/dashboard\s+(\S+)/);
      if (found) resolve(found[1]);
    });
    child.once("exit", () => reject(new Error("the demo ended")));
  });
  return { child, url, begin, up: performance.now() - begin };
}

const stop = (child) => new Promise((done) => (child.once("exit", done), child.kill("SIGTERM")));
const ups = [];
const samples = [];
const charts = [];
for (let round = 0; round <= ROUNDS; round += 1) {
  const page = await browser.newPage();
  const { child, url, begin, up } = await demo();
  const query = `${url}/api/v1/query?query=system_memory_usage_percent`;
  const sample = (async () => {
    for (;;) {
      const answer = await (await fetch(query)).json();
      if (answer.data?.result?.length) return performance.now() - begin;
      await new Promise((next) => setTimeout(next, 10));
    }
  })();
  await page.goto(`${url}/#/overview`);
  await page.locator('[data-panel="memory"] [data-chart="drawn"]').waitFor({ timeout: 30_000 });
  const chart = performance.now() - begin;
  const first = await sample;
  // The first round compiles components and fills caches: it is printed apart.
  if (round === 0) console.log(`first start ever here: up ${up.toFixed(0)} ms, sample ${first.toFixed(0)} ms, chart ${chart.toFixed(0)} ms`);
  else (ups.push(up), samples.push(first), charts.push(chart));
  await page.close();
  await stop(child);
}
console.log(`median of ${ROUNDS} starts: up ${median(ups).toFixed(0)} ms, first sample ${median(samples).toFixed(0)} ms, first chart ${median(charts).toFixed(0)} ms`);
await browser.close();

const { child } = await demo();
await new Promise((next) => setTimeout(next, IDLE_MS));
const status = await readFile(`/proc/${child.pid}/status`, "utf8");
console.log(`idle demo after ${IDLE_MS / 1000} s: ${(Number(status.match(/VmRSS:\s+(\d+)/)[1]) / 1024).toFixed(1)} MiB resident`);
await stop(child);
console.log(`binary: ${((await stat(binary)).size / 1e6).toFixed(1)} MB`);
