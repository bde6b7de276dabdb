// Screenshots of every page: wide in light and dark, and phone. `node e2e/shots.mjs [OUT]` against BASE_URL or the mock.
import { mkdir } from "node:fs/promises";
import { open, PAGES } from "./browser.mjs";

const out = process.argv[2] ?? new URL("./out/", import.meta.url).pathname;
await mkdir(out, { recursive: true });
const { browser, base, close } = await open();
const looks = [
  ["light", { width: 1440, height: 900 }, "light"],
  ["dark", { width: 1440, height: 900 }, "dark"],
  ["phone", { width: 390, height: 844 }, "light"],
];
const more = { "alerts-open": "#/alerts", "alerts-rules": "#/alerts", "alerts-channels": "#/alerts", "plugin": "#/plugins/host", "source": "#/sources/host", "explored": "#/explore?q=system_cpu_usage_percent", "report": "#/reports/9" };
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
    await page.screenshot({ path: `${out}/${id}-${name}.png`, fullPage: name === "phone" && !["plugin", "source"].includes(id) });
  }
  await context.close();
}
await close();
