// Screenshots of every page at three widths, in light and dark. `node e2e/shots.mjs [OUT]` against BASE_URL or the mock.
import { mkdir } from "node:fs/promises";
import { open, PAGES } from "./browser.mjs";

const out = process.argv[2] ?? new URL("./out/", import.meta.url).pathname;
await mkdir(out, { recursive: true });
const { browser, base, close } = await open();
const WIDTHS = { wide: [1440, 900], tablet: [820, 1100], phone: [390, 844] };
const looks = Object.entries(WIDTHS).flatMap(([name, [width, height]]) => ["light", "dark"].map((scheme) => [`${name}-${scheme}`, { width, height }, scheme]));
// Whatever is there: the first plugin and source that measure, the newest report.
const first = async (path, key, wanted) => ((await (await fetch(`${base}${path}`)).json()).find(wanted ?? (() => true)) ?? {})[key];
const slo = await (await fetch(`${base}/api/slos`)).json().then((s) => s.slos[0]?.name);
const measures = (x) => ["host", "system"].includes(x.name);
const [plugin, source, report] = [await first("/api/plugins", "name", measures), await first("/api/sources", "name", measures), await first("/api/reports/archive", "id")];
const more = { "alerts-open": "#/alerts", "alerts-rules": "#/alerts", "alerts-channels": "#/alerts", "plugin": `#/plugins/${plugin}`, "source": `#/sources/${source}`, "slo": `#/slos/${encodeURIComponent(slo)}`, "explored": "#/explore?q=system_cpu_usage_percent", "report": `#/reports/${report}` };
for (const [name, viewport, colorScheme] of looks) {
  const context = await browser.newContext({ viewport, colorScheme });
  const page = await context.newPage();
  for (const [id, hash] of [...PAGES.map((p) => [p, `#/${p}`]), ...Object.entries(more)]) {
    await page.goto("about:blank");
    await page.goto(`${base}/${hash}`);
    await page.waitForTimeout(900);
    if (id === "alerts-open") await page.locator(".head").first().click();
    if (id === "alerts-rules") await page.getByRole("tab", { name: "Rules" }).click();
    if (id === "alerts-channels") await page.getByRole("tab", { name: "Channels" }).click();
    await page.waitForTimeout(1300);
    await page.screenshot({ path: `${out}/${id}-${name}.png`, fullPage: name.startsWith("phone") && !["plugin", "source"].includes(id) });
  }
  await context.close();
}
await close();
