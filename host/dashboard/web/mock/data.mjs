// What the mock pretends: a small machine, a few sources, plugins, rules and reports. Values are functions of time, so
// that the past (range queries) and the present (events) agree.

export const started = Date.now();
const wave = (t, period, phase = 0) => Math.sin((t / period) * 2 * Math.PI + phase);
const noise = (t, seed) => {
  const x = Math.sin(Math.floor(t) * 12.9898 + seed * 78.233) * 43758.5453;
  return x - Math.floor(x);
};
const GIB = 1024 ** 3;
const clamp = (v, a, b) => Math.min(b, Math.max(a, v));

const core = (t, n) => clamp(24 + 14 * wave(t, 190, n * 1.7) + 9 * wave(t, 47, n) + 16 * noise(t / 5, n) + (t % 300 < 70 && n < 2 ? 38 : 0), 1, 99.6);
const CORES = 4;
const cores = [...Array(CORES).keys()];
const host = (labels) => ({ source: "host", ...labels });

/** Chart id → lines as [labels, value at t seconds]. */
export const lines = {
  cpu: [[host({ core: "total" }), (t) => cores.reduce((a, n) => a + core(t, n), 0) / CORES], ...cores.map((n) => [host({ core: String(n) }), (t) => core(t, n)])],
  memory: [
    [host({ type: "available" }), (t) => (9.4 - 0.7 * wave(t, 800) - 0.2 * noise(t / 5, 1)) * GIB],
    [host({ type: "cached" }), (t) => (4.6 + 0.3 * wave(t, 1300)) * GIB],
    [host({ type: "used" }), (t) => (6.1 + 0.7 * wave(t, 800) + 0.2 * noise(t / 5, 1)) * GIB],
  ],
  network: [
    [{ direction: "receive" }, (t) => 1.2e6 + 8e5 * wave(t, 130) + 9e5 * noise(t / 5, 2) ** 3],
    [{ direction: "transmit" }, (t) => 3.2e5 + 1.6e5 * wave(t, 170, 1) + 2e5 * noise(t / 5, 3) ** 2],
  ],
  disk_io: [
    [{ direction: "read" }, (t) => 4e5 * noise(t / 5, 5) ** 4 * 8],
    [{ direction: "write" }, (t) => 2.4e6 + 1.5e6 * wave(t, 60) * noise(t / 5, 6)],
  ],
  disk: [
    [{ path: "/" }, (t) => 61.2 + (t % 86400) / 40000],
    [{ path: "/home" }, () => 43.7],
    [{ path: "/var/lib/postgresql" }, (t) => 78 + (t % 7200) / 2400],
  ],
  ingest: [[{}, (t) => 148 + 12 * wave(t, 90) + 18 * noise(t / 5, 9)]],
};

const spec = (id, title, query, unit, legend, max = null) => ({ id, title, query, unit, kind: "line", legend, min: 0, max });
export const charts = [
  spec("cpu", "CPU", "system_cpu_usage_percent", "percent", "core {{core}}", 100),
  spec("memory", "Memory", 'system_memory_usage_bytes{type=~"used|cached|available"}', "bytes", "{{type}}"),
  spec("network", "Network", 'sum by (direction) (rate(system_network_traffic_bytes_total{interface!="lo"}[30s]))', "bytes_per_second", "{{direction}}"),
  spec("disk_io", "Disk traffic", "sum by (direction) (rate(system_disk_io_bytes_total[30s]))", "bytes_per_second", "{{direction}}"),
  spec("disk", "Disk space used", "max by (path) (system_disk_usage_percent)", "percent", "{{path}}", 100),
  spec("ingest", "Samples ingested", "sum(rate(belfry_ingest_samples_total[30s]))", "per_second", "samples"),
];

/** The lines of any query: those of the chart with that query, else of one whose metric it names. */
export function linesOf(query) {
  const chart = charts.find((c) => c.query === query);
  if (chart) return lines[chart.id];
  const words = [["cpu", "cpu"], ["memory", "memory"], ["network", "network"], ["disk_io", "disk_io"], ["disk", "disk"], ["ingest", "ingest"]];
  const hit = words.find(([w]) => query.includes(w));
  return hit ? lines[hit[1]].map(([l, f]) => [query.includes("(") ? l : { __name__: query.split("{")[0], ...l }, f]) : [];
}

const now = () => Date.now();
const ago = (s) => now() - s * 1000;

// The rule "High CPU" fires for a minute of each three; "MCP errors" for part of each four.
const phase = (period) => ((now() - started) / 1000) % period;
function alert(rule, severity, state, v, condition, since, summary, labels, deliveries = []) {
  const fired = state === "pending" ? null : since + 30_000;
  return {
    fingerprint: [...rule].reduce((h, c) => (h * 31 + c.charCodeAt(0)) >>> 0, 7).toString(16).padStart(16, "0"),
    rule, severity, state, value: v, condition, active_since_ms: since, fired_ms: fired,
    resolved_ms: state === "resolved" ? fired + 95_000 : null,
    labels: { alertname: rule, severity, ...labels }, annotations: { summary, description: `${summary}. Belongs to the platform team; the runbook is in the wiki.` }, deliveries,
  };
}
const delivery = (channel, status, s, what = "firing", attempt = 1, error = null) => ({ channel, at_ms: ago(s), status, attempt, error, what });

export function alerts(extra) {
  const p = phase(180);
  const list = [
    alert("Probe fails", "critical", "firing", 0, "== 0", ago(1240), "https://status.example.org has not answered for 20 minutes", { source: "status-page", url: "https://status.example.org" }, [delivery("pager", "retrying", 12, "firing", 4, "503 Service Unavailable from https://events.pager.example; next try in 40 s"), delivery("ops", "delivered", 1205)]),
    alert("Disk fills up", "warning", "firing", 79.4, "> 75", ago(5400), "/var/lib/postgresql is 79 % full", { source: "host", path: "/var/lib/postgresql" }, [delivery("ops", "delivered", 5368)]),
  ];
  if (p > 40 && p < 130) list.push(alert("High CPU", "warning", p < 60 ? "pending" : "firing", 92.3, "> 90", now() - (p - 40) * 1000, "CPU 0 is busy", { source: "host", core: "0" }, p < 60 ? [] : [delivery("ops", "delivered", p - 61)]));
  else list.push(alert("High CPU", "warning", "resolved", 31.5, "> 90", ago(300), "CPU 0 is busy", { source: "host", core: "0" }, [delivery("ops", "delivered", 170, "resolved"), delivery("ops", "delivered", 264)]));
  list.push(alert("MCP errors", "error", "resolved", 0.2, "> 5", ago(1500), "More than 5 % of the calls to the weather server failed", { source: "weather" }, [delivery("ops", "delivered", 1350, "resolved"), delivery("ops", "delivered", 1460)]));
  list.push(alert("Certificate ends soon", "info", "pending", 13.6, "< 14", ago(240), "The certificate of shop.example.org ends in 13 days", { source: "shop", url: "https://shop.example.org" }));
  list.push(...extra);
  const rank = { firing: 0, pending: 1, resolved: 2 };
  const bad = ["critical", "error", "warning", "info"];
  list.sort((a, b) => rank[a.state] - rank[b.state] || bad.indexOf(a.severity) - bad.indexOf(b.severity));
  return { now_ms: now(), alerts: list };
}

/** As objectives and rule files have them: conditions that are whole expressions, instances that only a label tells apart, names and labels without a space to break at. */
export function longAlerts() {
  const burn = (window, short, rate) => `slo:burn_rate{slo="checkout availability",window="${window}"} > ${rate} and ignoring (window) slo:burn_rate{slo="checkout availability",window="${short}"} > ${rate}`;
  const slo = (window, short, rate, severity) => ({ ...alert("SLOBurnRate", severity, "firing", 100, burn(window, short, rate), ago(58), "checkout availability: the error budget burns 100.0 times too fast", { slo: "checkout availability", window }), fingerprint: `5100000000000${window.padStart(3, "0")}`.replace(/[^0-9a-f]/g, "a") });
  const down = (n) => ({ ...alert("InstanceDown", "critical", "firing", 0, 'up{job="node",environment="production",datacenter="eu-central-1"} == 0', ago(3700), "An instance does not answer", { job: "node", instance: `node-${n}.rack-17.eu-central-1.compute.internal.example.org:9100` }), fingerprint: `d0${n}`.padStart(16, "0") });
  const name = "KubernetesHorizontalPodAutoscalerMismatchOfReplicasForLongerThanFifteenMinutes";
  return [
    slo("1h", "5m", 14.4, "critical"), slo("6h", "30m", 6, "critical"), slo("1d", "2h", 3, "warning"), down(1), down(2), down(3),
    alert(name, "error", "firing", 1.7976931348623157e308, `(kube_horizontalpodautoscaler_status_desired_replicas{job="kube-state-metrics"} != kube_horizontalpodautoscaler_status_current_replicas) and changes(kube_horizontalpodautoscaler_status_current_replicas[15m]) == 0`, ago(400_000), "", { pod: `checkout-${"0123456789abcdef".repeat(12)}`, namespace: "a-namespace-of-a-team-with-a-long-name", cluster: "c", container: "hpa", endpoint: "https-metrics", service: "kube-state-metrics" }),
    alert("Deep", "info", "pending", -1.2345e-300, `${"max by (a_label_with_a_long_name) (".repeat(9)}x${")".repeat(9)}`, ago(5), `An address in the summary: https://runbooks.example.org/${"a".repeat(160)}`, {}),
  ];
}

export function history() {
  const names = [["High CPU", "warning", { core: "0" }], ["MCP errors", "error", { source: "weather" }], ["High CPU", "warning", { core: "1" }], ["Probe fails", "critical", { source: "status-page" }]];
  return [...Array(14).keys()].map((i) => {
    const [rule, severity, labels] = names[i % 4];
    const start = ago(600 + i * 5300);
    return { rule, severity, labels: { alertname: rule, severity, ...labels }, started_ms: start, fired_ms: i % 5 === 4 ? null : start + 30_000, resolved_ms: i === 0 ? null : start + 30_000 + ((i * 97) % 13) * 41_000 };
  });
}

const in_group = (file, group, all) => all.map((r) => ({ ...r, file, group, kind: r.name.includes(":") ? "recording" : "alerting" }));

export function rules() {
  const active = alerts([]).alerts;
  const rule = (name, query, seconds, severity, description, enabled = true, last_error = null) => {
    const mine = active.filter((a) => a.rule === name && a.state !== "resolved");
    return { name, kind: "threshold", group: null, file: null, enabled, description, query, duration_seconds: seconds, severity, labels: {}, state: mine[0]?.state ?? "inactive", active: mine.length, last_evaluation_ms: enabled ? ago(3) : null, last_duration_seconds: enabled ? 0.00042 : null, last_error };
  };
  return [
    rule("High CPU", "system_cpu_usage_percent > 90", 30, "warning", "A core is busy for long."),
    rule("Disk fills up", "system_disk_usage_percent > 75", 300, "warning", "Less than a quarter of a disk is left."),
    rule("Probe fails", "http_probe_up == 0", 30, "critical", "A page that people need does not answer."),
    rule("MCP errors", "mcp_probe_error_percent > 5", 30, "error", "Calls to an MCP server fail."),
    rule("Certificate ends soon", "http_certificate_days < 14", 3600, "info", ""),
    rule("Swap in use", "system_swap_usage_bytes > 1073741824", 600, "info", "Switched off while the new memory is on its way.", false),
    ...in_group("rules/site.yml", "site", [rule("site:errors:rate5m", "sum by (site) (rate(http_errors_total[5m]))", 0, "info", ""), rule("SiteDown", "site:errors:rate5m > 1", 300, "critical", "")]),
    ...in_group("[[slo]]", "checkout", [...Array(24).keys()].map((i) => rule(i < 20 ? `slo:good:ratio_rate${i}m` : "SloBurns", "sum(rate(checkout_good_total[5m])) / sum(rate(checkout_total[5m]))", 0, "info", ""))),
  ];
}

export const channels = () => [
  { name: "ops", handler: "builtin:handler-console", is_default: true, takes_alerts: true, takes_reports: true, delivered_total: 48, failed_total: 0, retrying: 0, recent: [delivery("ops", "delivered", 170, "resolved"), delivery("ops", "delivered", 264), delivery("ops", "delivered", 900, "report")] },
  { name: "pager", handler: "builtin:handler-webhook", is_default: false, takes_alerts: true, takes_reports: false, delivered_total: 3, failed_total: 1, retrying: 1, recent: [delivery("pager", "retrying", 12, "firing", 4, "503 Service Unavailable from https://events.pager.example; next try in 40 s"), delivery("pager", "delivered", 86_000)] },
  { name: "mail", handler: "builtin:handler-email", is_default: false, takes_alerts: false, takes_reports: true, delivered_total: 0, failed_total: 0, retrying: 0, recent: [] },
];

export function sources() {
  const t = now() / 1000;
  const pulls = Math.floor((now() - started) / 5000) + 2113;
  const source = (name, kind, title, plugin, health, reason, every, took, samples, series, errors, labels) => ({
    name, kind, title, plugin, health, reason, health_since_ms: ago(health === "up" ? 90_000 : 1240),
    last_pull_ms: now() - (now() % (every * 1000)), last_duration_seconds: health === "down" ? 5 : took * (1 + 0.3 * noise(t / every, name.length)),
    interval_seconds: every, last_samples: health === "down" ? 0 : samples, series, pulls_total: pulls, errors_total: errors, samples_total: pulls * samples, rejected: name === "node" ? { series_limit: 214 } : {},
    recent_pull_seconds: [...Array(30).keys()].map((i) => ((health === "down" && i > 6) || (health === "degraded" && i % 9 === 4) ? null : took * (0.8 + 0.6 * noise(t / every + i, name.length)))),
    labels: { job: name, instance: "ida", source: name, ...labels },
  });
  return [
    source("belfry", "internal", "Belfry itself", null, "up", "", 5, 0.0003, 214, 214, 0, {}),
    source("host", "collector", "This machine", "host", "up", "", 5, 0.0021, 96, 96, 0, {}),
    source("node", "scrape", "localhost:9100", null, "degraded", "214 new series were refused: the source's limit of 2 000 is reached", 10, 0.013, 1786, 2000, 3, {}),
    source("shop", "collector", "https://shop.example.org", "shop", "up", "", 10, 0.142, 11, 11, 0, {}),
    source("status-page", "collector", "https://status.example.org", "status-page", "down", "no answer within 5 s (connect timed out)", 10, 0.21, 11, 11, 124, {}),
    source("weather", "metric_source", "MCP server weather", "weather", "up", "", 5, 0.0084, 23, 23, 18, { server: "weather" }),
    source("push", "push", "Remote write", null, "unknown", "", 0, 0, 0, 0, 0, {}),
  ].map((s) => (s.name === "push" ? { ...s, last_pull_ms: null, last_duration_seconds: null, pulls_total: 0, recent_pull_seconds: [] } : s)).sort((a, b) => a.name.localeCompare(b.name));
}

export function plugins(names) {
  const calls = Math.floor((now() - started) / 5000);
  const plugin = (name, source, kinds, imports, mean, memory, extra = {}) => ({
    name, source, state: "running", reason: "", title: extra.title ?? name, version: "0.1.0", digest: "9f2c61ab04e7d8335b1f0c7a6e52d941".repeat(2).slice(name.length, name.length + 40), component_bytes: 142_336,
    kinds, imports, denied: [], loaded_ms: started - 3_600_000, calls_total: 2113 + calls, errors: {}, last_error: null, last_error_ms: null,
    last_call_seconds: mean * (0.8 + 0.5 * noise(now() / 5000, 3)), average_call_seconds: mean, max_call_seconds: mean * 6.4, cpu_seconds_total: 2113 * mean * 0.4, memory_bytes: memory, memory_peak_bytes: memory * 1.3,
    restarts_total: 0, swaps_total: 0, series: 23, ...extra,
  });
  const list = [
    plugin("host", "builtin:collector-system", ["collector"], ["clock", "log", "system"], 0.0021, 1_310_720, { title: "System collector", series: 96 }),
    plugin("shop", "builtin:collector-http", ["collector"], ["clock", "http", "log"], 0.142, 1_179_648, { title: "HTTP probe" }),
    plugin("status-page", "builtin:collector-http", ["collector"], ["clock", "http", "log"], 0.21, 1_179_648, { title: "HTTP probe", errors: { refused: 117, timed_out: 7 }, last_error: "no answer within 5 s (connect timed out)", last_error_ms: ago(8) }),
    plugin("weather", "builtin:source-mcp-server", ["metric_source"], ["clock", "http", "log", "random"], 0.0084, 1_441_792, { title: "MCP server", errors: { refused: 18 }, last_error: "tools/call answered -32603", last_error_ms: ago(96), swaps_total: 2 }),
    plugin("ops", "builtin:handler-console", ["alert_handler", "report_handler"], ["log"], 0.0004, 1_114_112, { title: "Console", series: 0 }),
    plugin("github-stars", "plugins/github-stars.wasm", ["collector"], ["clock", "http", "kv", "log"], 0.31, 2_293_760, { title: "GitHub stars", denied: ["http"], state: "restarting", reason: "trapped in collect: unreachable executed at github_stars::collect (lib.rs:41); next instance in 8 s", errors: { trapped: 6 }, last_error: "unreachable executed", last_error_ms: ago(4), restarts_total: 6 }),
    plugin("section-metrics", "builtin:section-metrics", ["report_section"], ["log", "query"], 0.018, 1_245_184, { title: "Metrics section", series: 0 }),
  ];
  if (names) for (const p of list) p.detail = detail(p);
  return list;
}

function detail(p) {
  const grants = { host: { system: ["cpu", "memory", "disk", "network", "process"] }, shop: { http: ["https://shop.example.org"] }, weather: { http: ["http://127.0.0.1:8765"] }, "section-metrics": { query: ["granted"] } }[p.name] ?? {};
  const words = ["configured", "first collect took 3 ms", "96 series open", "slow answer", "retrying once"];
  return {
    description: "Measures and hands the numbers over. Part of Belfry, with no privilege over a stranger's plugin.",
    grants, denied_calls: p.denied.length ? { http: 2119 } : {},
    limits: { memory_bytes: 33_554_432, call_time_seconds: 5, cpu_time_seconds: 2, hostcall_bytes: 8_388_608, log_lines: 100, series: 10_000, samples_per_call: 100_000, http_requests: 64, http_concurrent: 8, http_response_bytes: 4_194_304, kv_bytes: 1_048_576 },
    config: { per_core: true, mounts: ["/", "/home"], token: "(secret)" }, secrets: p.name === "weather" ? { token: ["http://127.0.0.1:8765"] } : {},
    log: [...Array(24).keys()].map((i) => ({ at_ms: ago(600 - i * 25), level: i % 9 === 7 ? "warn" : i === 20 && p.last_error ? "error" : "info", message: i === 20 && p.last_error ? p.last_error : words[i % 5], attributes: i % 3 ? {} : { attempt: String(i), took: "3ms" } })),
    log_dropped_total: p.name === "github-stars" ? 37 : 0,
    history: [{ digest: p.digest, version: "0.1.0", from_ms: ago(3600), to_ms: null }, ...(p.swaps_total ? [{ digest: "77aa12cd90ef77aa12cd90ef", version: "0.0.9", from_ms: ago(96_000), to_ms: ago(3600) }] : [])],
  };
}
