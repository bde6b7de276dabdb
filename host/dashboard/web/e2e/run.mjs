// The dashboard in a real browser. Runs against BASE_URL (a Belfry) or the mock; what needs the mock's levers is left out
// against a real host, and what only a host does against the mock. Exit code 1 when a test fails.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { open, PAGES } from "./browser.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const { browser, base, mock, close } = await open();
const DEADLINE_MS = 15_000;
const TRIES = 2;
const tests = [];
const test = (name, options, body) => tests.push({ name, ...(body ? options : {}), body: body ?? options });

/** A page whose console errors, failed requests and foreign addresses are kept. */
async function visit(hash = "#/overview", options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  const problems = [];
  const expected = options.expected ?? (() => false);
  page.on("console", (m) => m.type() === "error" && !expected(m.text()) && problems.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => problems.push(`error: ${e.message}`));
  page.on("request", (r) => /^https?:/.test(r.url()) && !r.url().startsWith(base) && problems.push(`left the host: ${r.url()}`));
  await page.goto(`${base}/${hash}`);
  await page.locator('[data-connection="live"]').waitFor();
  return { page, problems, context };
}
const settle = (page) => page.waitForTimeout(700);

for (const name of PAGES)
  test(`${name} loads without a console error and without leaving the host`, async () => {
    const { page, problems, context } = await visit(`#/${name}`);
    await page.locator("main section, main .panel").first().waitFor();
    await settle(page);
    assert.equal(await page.locator("h1").textContent(), name === "slos" ? "SLOs" : name[0].toUpperCase() + name.slice(1));
    assert.deepEqual(problems, []);
    await context.close();
  });

test("charts are drawn from the store and the stream", async () => {
  const { page, context } = await visit();
  const chart = page.locator('[data-panel="cpu"] [data-chart="drawn"]');
  await chart.waitFor();
  const inked = await chart.locator("canvas").evaluate((c) => {
    const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
    let n = 0;
    for (let i = 3; i < data.length; i += 4) if (data[i] > 0) n += 1;
    return n;
  });
  assert.ok(inked > 500, `only ${inked} pixels are inked`);
  assert.match(await chart.getAttribute("aria-label"), /^CPU: .*\d/);
  await context.close();
});

test("a live value changes without a reload", async () => {
  const { page, context } = await visit();
  const tile = page.locator('[data-tile="cpu"] .figure');
  await page.waitForFunction(() => /\d/.test(document.querySelector('[data-tile="cpu"] .figure')?.textContent ?? ""), null, { timeout: DEADLINE_MS });
  const before = await tile.textContent();
  await page.waitForFunction((old) => document.querySelector('[data-tile="cpu"] .figure')?.textContent !== old, before, { timeout: DEADLINE_MS });
  await context.close();
});

test("an alert that fires appears, is counted and is spoken", { mock: true }, async () => {
  const { page, context } = await visit();
  await page.locator("#active-alerts").waitFor();
  await settle(page);
  await fetch(`${base}/mock/alert?name=Bell%20cracked`, { method: "POST" });
  await page.getByRole("link", { name: "Bell cracked" }).waitFor();
  await page.waitForFunction(() => document.querySelector("[data-spoken]")?.textContent?.includes("critical alert: Bell cracked"));
  assert.match(await page.title(), /^\(\d+\)/);
  await context.close();
});

test("without data each chart says what it waits for", { mock: true }, async () => {
  await fetch(`${base}/mock/scene?name=empty`, { method: "POST" });
  const { page, context } = await visit();
  await page.getByText("Waiting for the first sample").first().waitFor();
  await fetch(`${base}/mock/scene?name=`, { method: "POST" });
  await page.locator('[data-panel="cpu"] [data-chart="drawn"]').waitFor();
  await context.close();
});

test("dark and light follow the system, and the choice is kept", async () => {
  const { page, context } = await visit("#/overview", { colorScheme: "dark" });
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await paper();
  await page.getByRole("button", { name: "Use light colours" }).click();
  const light = await paper();
  assert.notEqual(dark, light);
  await page.reload();
  await page.locator("h1").waitFor();
  assert.equal(await paper(), light);
  await context.close();
});

for (const width of [360, 390, 768, 1024])
  test(`nothing scrolls sideways at ${width} px`, async () => {
    const { page, context } = await visit("#/overview", { viewport: { width, height: 800 } });
    for (const name of [...PAGES, "plugins/host", "sources/host", "slos/Checkout%20is%20fast"]) {
      await page.evaluate((h) => (location.hash = h), `#/${name}`);
      await settle(page);
      const over = await page.evaluate(() => {
        const wide = document.documentElement.clientWidth;
        return [...document.querySelectorAll("main *, dialog[open] *")].filter((e) => e.getBoundingClientRect().right > wide + 1 && e.closest(".tabs, pre, .scroll, svg") === null).map((e) => `${e.tagName}.${e.className}`).slice(0, 5);
      });
      const scroll = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(scroll <= 0, `${name} is ${scroll} px too wide: ${over}`);
      await page.keyboard.press("Escape");
    }
    await context.close();
  });

/** Texts of `rows` that lie on each other or outside of their row: what a person cannot read. Text that is cut off by its own box does not count where it is cut. */
const unreadable = (page, rows) =>
  page.evaluate((selector) => {
    const found = [];
    for (const row of document.querySelectorAll(selector)) {
      const edge = row.getBoundingClientRect();
      const texts = [];
      const walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (!node.textContent.trim() || node.parentElement.closest(".visually-hidden")) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        for (const line of range.getClientRects()) {
          const box = { left: line.left, right: line.right, top: line.top, bottom: line.bottom };
          for (let e = node.parentElement; e !== row; e = e.parentElement) {
            if (getComputedStyle(e).overflowX === "visible") continue;
            const clip = e.getBoundingClientRect();
            [box.left, box.right] = [Math.max(box.left, clip.left), Math.min(box.right, clip.right)];
          }
          if (box.right - box.left > 1) texts.push({ node, box, text: node.textContent.trim().slice(0, 40) });
        }
      }
      for (const [i, a] of texts.entries()) {
        if (a.box.right > edge.right + 1 || a.box.left < edge.left - 1) found.push(`“${a.text}” leaves its row`);
        for (const b of texts.slice(i + 1)) {
          const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
          const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
          // Boxes of lines reach a little beyond their letters.
          if (a.node !== b.node && across > 1 && down > 4) found.push(`“${a.text}” and “${b.text}” lie on each other`);
        }
      }
      const name = row.querySelector("strong, a");
      const lines = new Set([...name.getClientRects()].map((r) => Math.round(r.top))).size;
      if (lines > 1 + name.textContent.length / 12) found.push(`the name “${name.textContent}” takes ${lines} lines`);
    }
    return found;
  }, rows);

for (const width of [390, 820, 1300, 1920])
  test(`long expressions, names and labels can be read at ${width} px`, { mock: true }, async () => {
    await fetch(`${base}/mock/scene?name=long`, { method: "POST" });
    const { page, context } = await visit("#/overview", { viewport: { width, height: 900 } });
    const sideways = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    const check = async (place, rows) => {
      assert.ok((await page.locator(rows).count()) > 3, `${place} has no rows`);
      assert.deepEqual(await unreadable(page, rows), [], place);
      assert.ok((await sideways()) <= 0, `${place} is ${await sideways()} px too wide`);
    };
    try {
      await page.locator(".alerts li", { hasText: "SLOBurnRate" }).first().waitFor();
      await check("overview", ".alerts li");
      await page.evaluate(() => (location.hash = "#/alerts"));
      await page.locator(".alert", { hasText: "SLOBurnRate" }).first().waitFor();
      await check("alerts", ".alert .head");
      for (const n of [1, 2, 3]) await page.locator(".alert .head", { hasText: "InstanceDown" }).filter({ hasText: `instance=node-${n}.` }).waitFor();
      for (const name of ["SLOBurnRate", "Kubernetes", "Deep"]) {
        await page.locator(".alert .head", { hasText: name }).first().click();
        await page.locator(".detail code").waitFor();
        await check(`${name}, opened`, ".alert");
      }
      await page.getByRole("tab", { name: "Rules" }).click();
      await page.locator("tbody tr", { hasText: "Deep" }).first().waitFor();
      await check("rules", "tbody tr:not(.group)");
    } finally {
      await fetch(`${base}/mock/scene?name=`, { method: "POST" });
    }
    await context.close();
  });

test("a rule file that is refused is named beside the alerts of now, and other notices are not", { mock: true }, async () => {
  await fetch(`${base}/mock/scene?name=long`, { method: "POST" });
  const { page, context } = await visit("#/alerts");
  try {
    await page.getByLabel("Notices").getByText("Rule file rules/node.yml is refused").waitFor();
    await fetch(`${base}/mock/scene?name=notices`, { method: "POST" });
    await page.getByLabel("Notices").waitFor({ state: "detached" });
  } finally {
    await fetch(`${base}/mock/scene?name=`, { method: "POST" });
  }
  await context.close();
});

test("the keyboard reaches everything", async () => {
  const { page, context } = await visit();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to content");
  for (let i = 0; i < 20; i += 1) {
    await page.keyboard.press("Tab");
    if ((await page.evaluate(() => document.activeElement?.getAttribute("href"))) === "#/alerts") break;
  }
  const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(ring, "none", "focus is not visible");
  await page.keyboard.press("Enter");
  await page.getByRole("tab", { name: "Now" }).focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.getByRole("tab", { name: "History" }).getAttribute("aria-selected"), "true");
  await context.close();
});

test("a plugin's details open and close by keyboard", async () => {
  const { page, context } = await visit("#/plugins");
  await page.locator(".rowlink").first().focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await dialog.getByRole("tab", { name: "Log" }).click();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  // The address follows the dialog's own event, which comes right after it is gone.
  await page.waitForURL((url) => url.hash === "#/plugins");
  await context.close();
});

test("objectives are ordered by what is left, and by what one asks for", { mock: true }, async () => {
  const { page, context } = await visit("#/slos");
  const names = () => page.locator("[data-slo]").evaluateAll((rows) => rows.map((r) => r.dataset.slo));
  await page.locator("[data-slo]").first().waitFor();
  assert.deepEqual((await names()).slice(0, 2), ["Search works", "Checkout is fast"]);
  await page.getByRole("button", { name: "Objective" }).click();
  await page.waitForFunction(() => document.querySelector("[data-slo]")?.dataset.slo === "API availability");
  await page.getByLabel("Filter objectives").fill("mail");
  await page.waitForFunction(() => document.querySelectorAll("[data-slo]").length === 1);
  await page.getByText("young: 2 d 9 h of 30 d").waitFor();
  await context.close();
});

test("an objective opens by keyboard: its budget is drawn, its alert and its expressions are linked", { mock: true }, async () => {
  const { page, context, problems } = await visit("#/slos");
  await page.getByRole("link", { name: "Checkout is fast" }).focus();
  await page.keyboard.press("Enter");
  await page.locator('[data-panel="slo-budget"] [data-chart="drawn"]').waitFor();
  for (const id of ["slo-sli", "slo-burn", "slo-events"]) await page.locator(`[data-panel="${id}"] [data-chart="drawn"]`).waitFor();
  assert.equal(await page.getByRole("link", { name: "The page of 1h is firing: to the alert" }).getAttribute("href"), "#/alerts/00000000075bcd15");
  await page.getByRole("link", { name: "Explore All events, in 5m" }).click();
  await page.waitForFunction(() => document.querySelector("#query")?.value === "sum(rate(http_requests_total[5m]))");
  await page.goBack();
  await page.getByRole("link", { name: "All objectives" }).click();
  await page.locator("[data-slo]").first().waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test("an objective that knows nothing says why, and none at all says how to make one", { mock: true }, async () => {
  const { page, context } = await visit("#/slos");
  await page.locator("[data-slo]").filter({ hasText: "Aggregate both sides by the same labels" }).waitFor();
  await fetch(`${base}/mock/scene?name=empty`, { method: "POST" });
  try {
    await page.reload();
    await page.locator("pre").getByText("[[slo]]").waitFor();
  } finally {
    await fetch(`${base}/mock/scene?name=`, { method: "POST" });
  }
  await context.close();
});

test("managing asks for the token, says when it is wrong, and then goes on", { mock: true }, async () => {
  const { page, context } = await visit("#/reports", { expected: (t) => t.includes("401") });
  const before = await page.locator("#archive").locator("xpath=ancestor::section").locator("tbody tr").count();
  await page.getByRole("button", { name: /^Run now/ }).first().click();
  for (const word of ["nonsense", "mock"]) {
    await page.locator("#token").fill(word);
    await page.getByRole("button", { name: "Continue" }).click();
    if (word === "nonsense") await page.getByText("That one was not accepted.").waitFor();
  }
  await page.waitForFunction((n) => document.querySelectorAll("section[aria-labelledby=archive] tbody tr").length > n, before);
  await context.close();
});

test("a token in the address is taken and wiped", { mock: true }, async () => {
  const { page, context } = await visit("#token=mock");
  assert.equal(new URL(page.url()).hash, "");
  await page.evaluate(() => (location.hash = "#/plugins/host"));
  await page.getByRole("dialog").getByRole("button", { name: "Reload" }).click();
  await page.getByText("runs the same component").waitFor();
  await context.close();
});

test("a report is read in a frame that may not run anything", { mock: true }, async () => {
  const { page, context } = await visit("#/reports", { expected: (t) => /sandbox|script/i.test(t) });
  await page.locator("section[aria-labelledby=archive] .rowlink").first().click();
  const frame = page.locator("iframe");
  await frame.waitFor();
  assert.equal(await frame.getAttribute("sandbox"), "");
  const body = page.frameLocator("iframe").locator("body");
  await body.locator("h1").waitFor();
  assert.doesNotMatch(await body.textContent(), /^a script ran/);
  await context.close();
});

test("a query that does not parse says where", async () => {
  const { page, context } = await visit("#/explore", { expected: (t) => t.includes("400") });
  await page.getByLabel("PromQL").fill("sum(");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText(/parse error|unexpected|expected/i).waitFor();
  await context.close();
});

test("an address carries its expression whole, and a range that holds the one it names", async () => {
  const expression = 'max by (core) (system_cpu_usage_percent{core!="a&b#c?d%41+e"}) / 1 >= 0';
  const { page, context, problems } = await visit(`#/explore?q=${encodeURIComponent(expression)}&range=5400`);
  await page.getByLabel("Result").waitFor();
  assert.equal(await page.getByLabel("PromQL").inputValue(), expression);
  assert.equal(await page.getByLabel("Range").locator("option:checked").textContent(), "6 h");
  assert.deepEqual(problems, []);
  await context.close();
});

test("links as Prometheus' templates write them lead to the query, and its pages to ours", { host: true }, async () => {
  const { page, context } = await visit();
  for (const [path, hash] of [["/graph?g0.expr=up+%3D%3D+1&g0.tab=1", "#/explore?q=up+%3D%3D+1&range=900"], ["/alerts", "#/alerts"], ["/rules", "#/alerts?tab=rules"], ["/targets", "#/sources"]]) {
    await page.goto("about:blank");
    await page.goto(`${base}${path}`);
    await page.waitForURL((url) => url.pathname === "/" && url.hash === hash);
    if (path.startsWith("/graph")) assert.equal(await page.getByLabel("PromQL").inputValue(), "up == 1");
    if (path === "/rules") assert.equal(await page.getByRole("tab", { name: "Rules" }).getAttribute("aria-selected"), "true");
  }
  await context.close();
});

test("a link to an alert opens it, and one to a tab that tab", { mock: true }, async () => {
  const { page, context } = await visit("#/alerts?tab=rules");
  assert.equal(await page.getByRole("tab", { name: "Rules" }).getAttribute("aria-selected"), "true");
  const { alerts } = await (await fetch(`${base}/api/alerts`)).json();
  const alert = alerts.find((a) => a.rule === "Disk fills up");
  await page.evaluate((f) => (location.hash = `#/alerts/${f}`), alert.fingerprint);
  await page.locator(".alert", { has: page.locator(".detail") }).filter({ hasText: "Disk fills up" }).waitFor();
  await context.close();
});

test("what is typed stays, whatever the address asked for", async () => {
  const { page, context } = await visit("#/explore?q=system_cpu_usage_percent");
  await page.locator('main [data-chart="drawn"]').waitFor();
  const asked = [];
  page.on("request", (r) => r.url().includes("query_range") && asked.push(r.url()));
  await page.getByLabel("PromQL").fill("system_load_average");
  await page.waitForTimeout(2500);
  assert.equal(await page.getByLabel("PromQL").inputValue(), "system_load_average");
  assert.deepEqual(asked, [], "it asks by itself");
  await context.close();
});

test("a lost connection is shown, and comes back by itself", { mock: true }, async () => {
  const { page, context } = await visit("#/overview", { expected: (t) => t.includes("ERR_") });
  const away = (is) => fetch(`${base}/mock/away?is=${is}`, { method: "POST" });
  try {
    await away(true);
    await page.locator('[data-connection="lost"]').waitFor();
  } finally {
    await away(false);
  }
  await page.locator('[data-connection="live"]').waitFor();
  await context.close();
});

for (const colorScheme of ["light", "dark"])
  test(`axe finds nothing in ${colorScheme}`, async () => {
    const { page, context } = await visit("#/overview", { colorScheme, bypassCSP: true });
    const found = [];
    for (const name of [...PAGES, "plugins/host", "sources/host", "slos/Checkout%20is%20fast"]) {
      await page.evaluate((h) => (location.hash = h), `#/${name}`);
      await settle(page);
      if (name === "alerts") await page.locator(".head").first().click({ timeout: 2000 }).catch(() => {});
      if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
      for (const v of violations) found.push(`${name}: ${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target} ${n.any[0]?.message ?? ""}`).join(" | ")}`);
      await page.keyboard.press("Escape");
    }
    assert.deepEqual(found, []);
    await context.close();
  });

const only = process.argv[2];
let failed = 0;
for (const t of tests.filter((t) => !only || t.name.includes(only))) {
  if (t.mock && !mock) {
    console.log(`left out  ${t.name} (needs the mock)`);
    continue;
  }
  if (t.host && mock) {
    console.log(`left out  ${t.name} (needs a host)`);
    continue;
  }
  // A browser on a busy machine stalls now and then: one more try, which is told.
  for (let attempt = 1; attempt <= TRIES; attempt += 1) {
    const start = Date.now();
    try {
      await t.body();
      console.log(`ok        ${t.name} (${Date.now() - start} ms${attempt > 1 ? `, at try ${attempt}` : ""})`);
      break;
    } catch (error) {
      console.log(`${attempt < TRIES ? "again    " : "FAILED   "} ${t.name}\n${error.stack}`);
      if (attempt === TRIES) failed += 1;
    }
  }
}
await close();
console.log(failed ? `${failed} failed` : "all passed");
process.exit(failed ? 1 : 0);
