// Development only: answers the dashboard's API with moving, made-up data, so that the UI can be built and tested without
// a host. `node mock/server.mjs [PORT]`; serves dist/ too when it is built. Token for managing: "mock".

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import * as data from "./data.mjs";
import * as objectives from "./slos.mjs";

const PORT = Number(process.argv[2] ?? process.env.PORT ?? 8099);
const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json" };
const CSP = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const TOKEN = "mock";

const extraAlerts = [];
/** A test sets this to see the page without data, with notices, and so on. */
let scene = process.env.SCENE ?? "";
let archive = [...Array(9).keys()].map((i) => made(9 - i, i % 3 === 2 ? "weekly" : "daily", Date.now() - (i + 1) * 28_800_000));
const running = new Set();
const alertsNow = () => data.alerts(scene === "long" ? [...extraAlerts, ...data.longAlerts()] : extraAlerts);
const clients = new Set();

function made(id, name, at) {
  return {
    id, name, title: name === "weekly" ? "Weekly service levels" : "Daily summary", start_ms: at - 86_400_000, end_ms: at, made_ms: at + 1400,
    made_up_for_ms: id === 7 ? at - 3_600_000 : null, failed_sections: id === 5 ? 1 : 0,
    documents: [["html", "text/html"], ["json", "application/json"], ["csv", "text/csv"]].map(([e, media_type], n) => ({ file_name: `${name}-${id}.${e}`, media_type, size_bytes: [48_213, 21_900, 8_120][n] })),
  };
}

function overview(withCharts) {
  const now = Date.now();
  const t = now / 1000;
  const sources = data.sources();
  const alerts = alertsNow().alerts;
  const firing = alerts.filter((a) => a.state === "firing");
  const health = { up: 0, degraded: 0, down: 0, unknown: 0 };
  for (const s of sources) health[s.health] += 1;
  const rate = data.lines.ingest[0][1](t);
  return {
    version: "0.1.0", host_name: "ida.example.org", started_ms: data.started - 7_400_000, now_ms: now, uptime_seconds: (now - data.started) / 1000 + 7400,
    process: { memory_resident_bytes: 71_200_000 + Math.round(900_000 * Math.sin(t / 30)), cpu_percent: 1.8 + Math.sin(t / 7), open_files: 58, threads: 14 },
    ingest: { samples_per_second: rate, samples_total: Math.round(1_184_302 + rate * ((now - data.started) / 1000)), rejected_total: 214, series: 4141 },
    storage: { used_bytes: 184_000_000, free_bytes: 77 * 1024 ** 3, retention_seconds: 1_296_000, downsampled_blocks: 12, oldest_ms: now - 5 * 86_400_000 },
    sources: health,
    alerts: { pending: alerts.filter((a) => a.state === "pending").length, firing: firing.length, resolved_recent: alerts.filter((a) => a.state === "resolved").length, firing_by_severity: {} },
    plugins: { running: 6, restarting: 1, failed: 0 }, rules: 6, reports: 2,
    notices: scene === "long"
      ? [{ code: "rule_file_rules/node.yml", level: "error", title: "Rule file rules/node.yml is refused; its last good version goes on", text: "rules/node.yml:7:11: error: 1:4: parse error: unexpected end of input", help: "mend it: it is read again when it changes", since_ms: now - 9000 }]
      : scene === "notices"
      ? [
          { code: "disk_full", level: "error", title: "The disk is full: nothing new is stored", text: "No space left on device (/var/lib/belfry/wal/000117). What was acknowledged is safe.", help: "Free space on /var/lib/belfry, or lower `retention`. Writing goes on by itself.", since_ms: now - 320_000 },
          { code: "config_refused", level: "warning", title: "The new config was refused; the old one goes on", text: "belfry.toml:14:1: error: unknown key `intervall`\n  help: did you mean `interval`?", help: null, since_ms: now - 61_000 },
        ]
      : [{ code: "series_limit", level: "warning", title: "The source “node” reached its limit of 2 000 series", text: "214 new series were refused; those that are open go on.", help: "Raise `series` in its limits, or drop labels with `relabel`.", since_ms: now - 1_500_000 }],
    ...(withCharts ? { charts: data.charts } : {}),
    points: scene === "empty" ? [] : data.charts.map((c) => ({ id: c.id, at_ms: now, values: data.lines[c.id].map(([labels, f]) => ({ labels, value: f(t) })) })),
  };
}

function reports() {
  const now = Date.now();
  const report = (name, title, schedule, text, period, formats, deliver, sections) => {
    const last = archive.find((a) => a.name === name);
    return { name, title, schedule, schedule_text: text, time_zone: "Europe/Berlin", period_seconds: period, formats, deliver, sections, next_due_ms: now + 5_400_000, last_run_ms: last?.made_ms ?? null, last_archive_id: last?.id ?? null, last_error: null, running: running.has(name) };
  };
  return [report("daily", "Daily summary", "0 9 * * *", "every day at 09:00", 86_400, ["html", "json", "csv"], ["ops"], ["Metrics", "Alerts"]), report("weekly", "Weekly service levels", "0 8 * * mon", "Mondays at 08:00", 604_800, ["html", "json"], ["mail"], ["Service levels", "Alerts", "Top sources"])];
}

function metrics(only) {
  const at_ms = Date.now();
  const t = at_ms / 1000;
  const one = (name, kind, unit, help, rows) => ({ name, kind, unit, help, series: rows.map(([labels, f]) => ({ labels: { job: "host", instance: "ida", source: "host", ...labels }, value: f(t), at_ms })) });
  const all = [
    { source: "belfry", metrics: [one("belfry_ingest_samples_total", "counter", "", "Samples taken into the store.", [[{}, (x) => 1.1e6 + x % 1e5]])] },
    { source: "host", metrics: [one("system_cpu_usage_percent", "gauge", "percent", "Busy share of a core.", data.lines.cpu), one("system_disk_usage_percent", "gauge", "percent", "Used share of a file system.", data.lines.disk), one("system_memory_usage_bytes", "gauge", "bytes", "Memory by type: used, available, free, cached, buffers.", data.lines.memory), one("system_network_traffic_bytes_total", "counter", "bytes", "Traffic by interface and direction.", data.lines.network)] },
  ];
  return { now_ms: at_ms, truncated: false, sources: all.filter((s) => !only || s.source === only) };
}

const readiness = () => ({
  ready: true,
  checks: [
    { name: "storage", status: "ok", required: true, message: "Writes go through; 77 GiB are free.", duration_seconds: 0.0004 },
    { name: "state", status: "ok", required: true, message: "The database answers.", duration_seconds: 0.0002 },
    { name: "ingest", status: "ok", required: true, message: "The last sample came a second ago.", duration_seconds: 0.00001 },
    { name: "rules", status: "ok", required: true, message: "6 rules, evaluated in time.", duration_seconds: 0.00001 },
    { name: "notify", status: "degraded", required: false, message: "The channel “pager” has failed 4 times; the next try is in 40 s.", duration_seconds: 0.00002 },
    { name: "plugins", status: "degraded", required: false, message: "“github-stars” is restarting after a crash; 6 others run.", duration_seconds: 0.00003 },
    { name: "reports", status: "ok", required: false, message: "2 reports are scheduled.", duration_seconds: 0.00001 },
  ],
});

function queryRange(q) {
  const query = q.get("query") ?? "";
  if (/[({]\s*$/.test(query) || !query) return { code: 400, body: { status: "error", errorType: "bad_data", error: `1:${query.length + 1}: parse error: unexpected end of input` } };
  const [start, end, step] = ["start", "end", "step"].map((k) => Number(q.get(k)));
  // Belfry "started" half an hour ago, and was down for two minutes of it.
  const slos = query.includes("slo:");
  const born = slos ? 0 : data.started / 1000 - 1800;
  const values = (f) => {
    const out = [];
    for (let t = start; t <= end; t += step) if (t >= born && !(!slos && t > born + 900 && t < born + 1020) && !Number.isNaN(f(t))) out.push([t, String(f(t))]);
    return out;
  };
  return { code: 200, body: { status: "success", data: { resultType: "matrix", result: scene === "empty" ? [] : (slos ? objectives.linesOf(query) : data.linesOf(query)).map(([metric, f]) => ({ metric, values: values(f) })) } } };
}

function document(id, file) {
  const report = archive.find((a) => a.id === id);
  if (!report) return null;
  if (file.endsWith(".json")) return ["application/json", JSON.stringify(report)];
  if (file.endsWith(".csv")) return ["text/csv", "metric,mean,max\nCPU,31.2,97.1\n"];
  const bars = [...Array(24).keys()].map((h) => `<rect x="${h * 25}" y="${120 - 30 - 70 * Math.abs(Math.sin(h / 4))}" width="20" height="${30 + 70 * Math.abs(Math.sin(h / 4))}" fill="#0b7a72"/>`).join("");
  return ["text/html; charset=utf-8", `<!doctype html><meta charset=utf-8><meta name=viewport content="width=device-width"><style>body{font:15px/1.5 system-ui;margin:2rem auto;max-width:46rem;padding:0 1rem;color:#182124}table{border-collapse:collapse;width:100%}td,th{padding:.4rem;border-bottom:1px solid #dde1db;text-align:left}svg{width:100%}</style><h1>${report.title}</h1><p>CPU by hour</p><svg viewBox="0 0 600 120">${bars}</svg><table><tr><th>Metric<th>Mean<th>Max<tr><td>CPU<td>31 %<td>97 %<tr><td>Memory<td>6.1 GiB<td>6.9 GiB</table><script>document.body.textContent="a script ran"</script>`];
}

const json = (response, body, code = 200) => {
  response.writeHead(code, { "content-type": "application/json", "cache-control": "no-store" });
  response.end(JSON.stringify(body));
};
const event = (kind, body) => `event: ${kind}\ndata: ${JSON.stringify(body)}\n\n`;
// No event stream can be had: what a page sees of a host that restarts.
let away = false;
const broadcast = (kind, body) => clients.forEach((c) => c.write(event(kind, body)));

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://mock");
  const path = decodeURIComponent(url.pathname);
  const q = url.searchParams;
  response.setHeader("content-security-policy", CSP);
  if (request.method !== "GET" && !path.startsWith("/mock/") && request.headers.authorization !== `Bearer ${TOKEN}`) return json(response, { error: "unauthorized", message: "this needs the token", help: "send `Authorization: Bearer TOKEN`" }, 401);
  let m;
  if (path === "/api/events") {
    if (away) return void request.socket.destroy();
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.write(event("overview", overview(false)) + event("sources", data.sources()) + event("alerts", alertsNow()) + event("plugins", data.plugins(false)) + event("reports", reports()));
    clients.add(response);
    return void request.on("close", () => clients.delete(response));
  }
  if (path === "/api/overview") return json(response, overview(true));
  if (path === "/api/sources") return json(response, data.sources());
  if (path === "/api/alerts") return json(response, alertsNow());
  if (path === "/api/alerts/history") return json(response, data.history());
  if (path === "/api/rules") return json(response, [...data.rules(), ...(scene === "long" ? data.longAlerts().map((a) => ({ ...data.rules()[0], name: a.rule, query: a.condition, group: "a".repeat(90), file: `rules/${"b".repeat(120)}.yml` })) : [])]);
  if (path === "/api/slos") return json(response, scene === "empty" ? { now_ms: Date.now(), slos: [] } : objectives.slos());
  if ((m = /^\/api\/slos\/(.+)$/.exec(path))) {
    const found = objectives.slo(m[1]);
    return found ? json(response, found) : json(response, { error: "not_found", message: `there is no objective \`${m[1]}\`` }, 404);
  }
  if (path === "/api/channels") return json(response, data.channels());
  if (path === "/api/plugins") return json(response, data.plugins(false));
  if (path === "/api/reports") return json(response, reports());
  if (path === "/api/metrics") return json(response, metrics(q.get("source")));
  if (path === "/api/reports/archive") return json(response, archive.filter((a) => (!q.get("name") || a.name === q.get("name")) && (!q.get("before") || a.id < Number(q.get("before")))));
  if (path === "/ready") return json(response, readiness());
  if (path === "/api/v1/query_range") {
    const { code, body } = queryRange(q);
    return json(response, body, code);
  }
  if (path === "/api/timeseries") {
    const t = Math.floor(Date.now() / 10_000) * 10_000;
    return json(response, { metric: q.get("metric"), unit: "", aggregator: q.get("aggregator") ?? "avg", from_ms: t - 600_000, to_ms: t, interval_seconds: 10, warnings: [], series: data.linesOf(q.get("metric") ?? "").map(([labels, f]) => ({ labels, points: [...Array(60).keys()].map((i) => [t - 600_000 + i * 10_000, f((t - 600_000 + i * 10_000) / 1000)]) })) });
  }
  if (path === "/api/admin/log-level") return json(response, { level: "debug" });
  if ((m = /^\/api\/plugins\/([^/]+)\/reload$/.exec(path))) return json(response, { message: `“${m[1]}” runs the same component as before, with its config read again.` }, 202);
  if ((m = /^\/api\/plugins\/([^/]+)$/.exec(path))) {
    const found = data.plugins(true).find((p) => p.name === m[1]);
    return found ? json(response, found) : json(response, { error: "not_found", message: `there is no plugin \`${m[1]}\`` }, 404);
  }
  if ((m = /^\/api\/reports\/([^/]+)\/run$/.exec(path))) {
    const name = m[1];
    running.add(name);
    broadcast("reports", reports());
    setTimeout(() => {
      running.delete(name);
      archive = [made(archive[0].id + 1, name, Date.now()), ...archive];
      broadcast("reports", reports());
    }, 1500);
    return json(response, { message: "The report is being made." }, 202);
  }
  if ((m = /^\/api\/reports\/archive\/(\d+)\/(.+)$/.exec(path))) {
    const found = document(Number(m[1]), m[2]);
    if (!found) return json(response, { error: "not_found", message: "there is no such report" }, 404);
    response.writeHead(200, { "content-type": found[0] });
    return response.end(found[1]);
  }
  // For the tests: an alert appears, or the scene changes.
  if (path === "/mock/alert") {
    const base = data.alerts([]).alerts.find((a) => a.rule === "Disk fills up");
    const name = q.get("name") ?? "Test alert";
    extraAlerts.push({ ...base, rule: name, fingerprint: String(extraAlerts.length).padStart(16, "f"), severity: "critical", annotations: { summary: "Something the test made up" } });
    broadcast("alerts", alertsNow());
    return json(response, {});
  }
  if (path === "/mock/away") {
    away = q.get("is") === "true";
    if (away) clients.forEach((c) => c.destroy());
    return json(response, {});
  }
  if (path === "/mock/scene") {
    scene = q.get("name") ?? "";
    broadcast("alerts", alertsNow());
    return json(response, {});
  }
  if (path.startsWith("/api/")) return json(response, { error: "not_found", message: `there is no ${path}` }, 404);
  const file = normalize(path === "/" ? "/index.html" : path);
  try {
    const body = await readFile(join(DIST, file));
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    response.end(body);
  } catch {
    response.writeHead(404).end("not built: npm run build");
  }
});

setInterval(() => {
  broadcast("overview", overview(false));
  broadcast("sources", data.sources());
  broadcast("alerts", alertsNow());
}, 1000).unref();
setInterval(() => broadcast("plugins", data.plugins(false)), 5000).unref();
server.listen(PORT, "127.0.0.1", () => console.log(`mock on http://127.0.0.1:${PORT}`));
