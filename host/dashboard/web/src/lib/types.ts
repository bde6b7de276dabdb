/** The API's JSON, as host/dashboard/src/dto.rs documents it. Times end in `_ms`: milliseconds since the epoch. */

export type Labels = Record<string, string>;
export type Severity = "info" | "warning" | "error" | "critical";
export type Health = "up" | "degraded" | "down" | "unknown";
export type AlertState = "inactive" | "pending" | "firing" | "resolved";

export interface Notice {
  code: string;
  level: "info" | "warning" | "error";
  title: string;
  text: string;
  help: string | null;
  since_ms: number;
}
export interface ChartSpec {
  id: string;
  title: string;
  query: string;
  unit: string;
  kind: "line" | "stacked" | "mirrored";
  legend: string;
  min: number | null;
  max: number | null;
}
export interface LabelledValue {
  labels: Labels;
  value: number | null;
}
export interface ChartPoints {
  id: string;
  at_ms: number;
  values: LabelledValue[];
}
export interface Overview {
  version: string;
  host_name: string;
  started_ms: number;
  now_ms: number;
  uptime_seconds: number;
  process: { memory_resident_bytes: number; cpu_percent: number | null; open_files: number | null; threads: number | null };
  ingest: { samples_per_second: number; samples_total: number; rejected_total: number; series: number };
  storage: { used_bytes: number | null; free_bytes: number | null; retention_seconds: number | null; downsampled_blocks: number; oldest_ms: number | null };
  sources: Record<Health, number>;
  alerts: { pending: number; firing: number; resolved_recent: number; firing_by_severity: Partial<Record<Severity, number>> };
  plugins: { running: number; restarting: number; failed: number };
  rules: number;
  reports: number;
  notices: Notice[];
  charts?: ChartSpec[];
  points: ChartPoints[];
}
export interface Source {
  name: string;
  kind: string;
  title: string;
  plugin: string | null;
  health: Health;
  reason: string;
  health_since_ms: number | null;
  last_pull_ms: number | null;
  last_duration_seconds: number | null;
  interval_seconds: number;
  last_samples: number;
  series: number;
  pulls_total: number;
  errors_total: number;
  samples_total: number;
  rejected: Record<string, number>;
  recent_pull_seconds: (number | null)[];
  labels: Labels;
}
export interface Delivery {
  channel: string;
  at_ms: number;
  status: "delivered" | "retrying" | "failed" | "waiting";
  attempt: number;
  error: string | null;
  what: string;
}
export interface Alert {
  fingerprint: string;
  rule: string;
  severity: Severity;
  state: AlertState;
  value: number | null;
  condition: string;
  active_since_ms: number;
  fired_ms: number | null;
  resolved_ms: number | null;
  labels: Labels;
  annotations: Labels;
  deliveries: Delivery[];
}
export interface Alerts {
  now_ms: number;
  alerts: Alert[];
}
export interface Episode {
  rule: string;
  severity: Severity;
  labels: Labels;
  started_ms: number;
  fired_ms: number | null;
  resolved_ms: number | null;
}
export interface Rule {
  name: string;
  kind: string;
  group: string | null;
  file: string | null;
  enabled: boolean;
  description: string;
  query: string;
  duration_seconds: number;
  severity: Severity;
  labels: Labels;
  state: AlertState;
  active: number;
  last_evaluation_ms: number | null;
  last_duration_seconds: number | null;
  last_error: string | null;
}
export interface Channel {
  name: string;
  handler: string;
  is_default: boolean;
  takes_alerts: boolean;
  takes_reports: boolean;
  delivered_total: number;
  failed_total: number;
  retrying: number;
  recent: Delivery[];
}
export interface LogLine {
  at_ms: number;
  level: string;
  message: string;
  attributes: Record<string, string>;
}
export interface PluginDetail {
  description: string;
  grants: Record<string, string[]>;
  denied_calls: Record<string, number>;
  limits: Record<string, number>;
  config: unknown;
  secrets: Record<string, string[]>;
  log: LogLine[];
  log_dropped_total: number;
  history: { digest: string; version: string; from_ms: number; to_ms: number | null }[];
}
export interface Plugin {
  name: string;
  source: string;
  state: "starting" | "running" | "restarting" | "failed" | "draining";
  reason: string;
  title: string;
  version: string;
  digest: string;
  component_bytes: number;
  kinds: string[];
  imports: string[];
  denied: string[];
  loaded_ms: number | null;
  calls_total: number;
  errors: Record<string, number>;
  last_error: string | null;
  last_error_ms: number | null;
  last_call_seconds: number | null;
  average_call_seconds: number | null;
  max_call_seconds: number | null;
  cpu_seconds_total: number;
  memory_bytes: number;
  memory_peak_bytes: number;
  restarts_total: number;
  swaps_total: number;
  series: number;
  detail?: PluginDetail;
}
export interface Report {
  name: string;
  title: string;
  schedule: string;
  schedule_text: string | null;
  time_zone: string;
  period_seconds: number;
  formats: string[];
  deliver: string[];
  sections: string[];
  next_due_ms: number | null;
  last_run_ms: number | null;
  last_archive_id: number | null;
  last_error: string | null;
  running: boolean;
}
export interface ArchivedReport {
  id: number;
  name: string;
  title: string;
  start_ms: number;
  end_ms: number;
  made_ms: number;
  made_up_for_ms: number | null;
  documents: { file_name: string; media_type: string; size_bytes: number }[];
  failed_sections: number;
}
export type SloState = "no_data" | "ok" | "burning_slow" | "burning_fast" | "exhausted";
export interface SloBurn {
  threshold: number;
  severity: string;
  long: string;
  short: string;
  long_rate: number | null;
  short_rate: number | null;
  possible: boolean;
}
export interface SloSeries {
  labels: Labels;
  state: SloState;
  good_ratio: number | null;
  budget_remaining_ratio: number | null;
  known_since_ms: number | null;
  exhausted_in_seconds: number | null;
  burns: SloBurn[];
  good: number | null;
  total: number | null;
}
export interface SloDetail {
  kind: "ratio" | "threshold";
  good_query: string;
  total_query: string;
  good: string;
  total: string;
  shortest_window: string;
  alerts: { severity: string; window: string; query: string; state: AlertState; active: string[]; error: string | null }[];
  recorded: { name: string; window: string | null; query: string; error: string | null }[];
}
export interface Slo {
  name: string;
  description: string;
  objective_percent: number;
  window_seconds: number;
  window: string;
  interval_seconds: number;
  labels: Labels;
  state: SloState;
  reason: string;
  last_evaluation_ms: number | null;
  series: SloSeries[];
  series_total: number;
  detail?: SloDetail;
}
export interface Slos {
  now_ms: number;
  slos: Slo[];
}
export interface CurrentMetrics {
  now_ms: number;
  truncated: boolean;
  sources: {
    source: string;
    metrics: {
      name: string;
      kind: string;
      unit: string;
      help: string;
      series: { labels: Labels; value: number | null; at_ms: number }[];
    }[];
  }[];
}
export interface Readiness {
  ready: boolean;
  checks: { name: string; status: "ok" | "degraded" | "failed"; required: boolean; message: string; duration_seconds: number }[];
}
export interface MatrixRow {
  metric: Labels;
  values: [number, string][];
}
