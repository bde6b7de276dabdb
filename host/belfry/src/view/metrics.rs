//! Belfry's own metrics, read from every organ.

use std::time::Duration;

use belfry_model::duration::format_duration;

use crate::app::App;
use crate::process;
use crate::telemetry::own::OwnMetrics;

/// Everything, as it is now.
pub fn own(app: &App) -> OwnMetrics {
    let mut own = OwnMetrics::default();
    of_process(app, &mut own);
    of_ingest(app, &mut own);
    of_store(app, &mut own);
    of_plugins(app, &mut own);
    of_rules(app, &mut own);
    super::rules::metrics(app, &mut own);
    of_notify(app, &mut own);
    of_reports(app, &mut own);
    super::push::metrics(app, &mut own);
    crate::engine::view::metrics(app, &mut own);
    let (answered, failed) = app.queries.counts();
    own.counter("belfry_queries", "PromQL queries by outcome.")
        .set(&[("outcome", "answered")], answered as f64)
        .set(&[("outcome", "failed")], failed as f64);
    let kept = app.queries.kept();
    own.counter("belfry_query_cache", "Range queries that kept answers might have helped.")
        .set(&[("result", "hit")], kept.hits as f64)
        .set(&[("result", "miss")], kept.misses as f64);
    own.counter("belfry_query_cache_evicted", "Kept answers driven out by others.").set(&[], kept.evicted as f64);
    own.gauge("belfry_query_cache_bytes", "Memory of kept answers.").set(&[], kept.bytes as f64);
    own
}

fn of_process(app: &App, own: &mut OwnMetrics) {
    let used = process::now();
    own.gauge("belfry_build_info", "Always 1; the version is a label.")
        .set(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    own.gauge("process_start_time_seconds", "When the process began.").set(&[], app.started.as_secs_f64());
    if let Some(bytes) = used.resident_bytes {
        own.gauge("process_resident_memory_bytes", "Resident set of the process.").set(&[], bytes as f64);
    }
    if let Some(cpu) = used.cpu {
        own.counter("process_cpu_seconds", "User and system time of the process.").set(&[], cpu.as_secs_f64());
    }
    if let Some(n) = used.threads {
        own.gauge("process_threads", "OS threads.").set(&[], n as f64);
    }
    if let Some(n) = used.open_files {
        own.gauge("process_open_fds", "Open file descriptors.").set(&[], n as f64);
    }
}

fn of_ingest(app: &App, own: &mut OwnMetrics) {
    let stats = app.ingest.stats();
    for p in &stats.producers {
        let producer = ("producer", p.producer.as_str());
        let a = &p.samples;
        own.counter("belfry_ingest_samples", "Samples written, by producer.").set(&[producer], a.accepted as f64);
        own.gauge("belfry_ingest_series", "Series open, by producer.").set(&[producer], p.series as f64);
        own.counter("belfry_ingest_batches", "Batches written, by producer.").set(&[producer], p.batches as f64);
        let rejected = own.counter("belfry_ingest_rejected", "Samples and series refused or shed, by reason.");
        for (reason, n) in [
            ("too_old", a.too_old),
            ("duplicate", a.duplicate),
            ("unknown_series", a.unknown_series),
            ("too_far_ahead", a.too_far_ahead),
            ("lost", p.samples_lost),
            ("series_shed", p.series_shed),
            ("series_refused", p.series_refused),
        ] {
            rejected.set(&[producer, ("reason", reason)], n as f64);
        }
    }
    own.counter("belfry_ingest_exemplars_rejected", "Exemplars left out, by reason.")
        .set(&[("reason", "labels_too_long")], stats.exemplars_too_long as f64);
    own.counter("belfry_ingest_metadata_cut", "Metadata whose help or unit was cut, or left out for its long name.")
        .set(&[], stats.metadata_cut as f64);
    own.gauge("belfry_ingest_batches_waiting", "Batches that wait for the store.").set(&[], stats.waiting as f64);
    own.counter("belfry_ingest_batches_shed", "Batches shed because too many waited.")
        .set(&[], stats.batches_shed as f64);
    for s in app.sources.all() {
        let status = s.status.lock();
        let source = ("of", s.name.as_str());
        own.counter("belfry_source_pulls", "Pulls, by source.").set(&[source], status.pulls as f64);
        own.counter("belfry_source_pull_errors", "Pulls that brought nothing, by source.")
            .set(&[source], status.errors as f64);
        own.counter("belfry_source_pulls_skipped", "Pulls left out because the source was busy.")
            .set(&[source], status.skipped as f64);
        if let Some(d) = status.last_duration {
            own.gauge("belfry_source_pull_seconds", "How long the last pull took.").set(&[source], d.as_secs_f64());
        }
    }
}

fn of_store(app: &App, own: &mut OwnMetrics) {
    let s = app.store.stats();
    own.gauge("belfry_store_series", "Series in the head.").set(&[], s.series as f64);
    own.gauge("belfry_store_symbols", "Interned names and values.").set(&[], s.symbols as f64);
    own.counter("belfry_store_samples_appended", "Samples written.").set(&[], s.appended as f64);
    own.counter("belfry_store_samples_rejected", "Samples refused, by reason.")
        .set(&[("reason", "too_old")], s.rejected_too_old as f64)
        .set(&[("reason", "duplicate")], s.rejected_duplicate as f64)
        .set(&[("reason", "unknown_series")], s.rejected_unknown_series as f64)
        .set(&[("reason", "too_far_ahead")], s.rejected_too_far_ahead as f64);
    own.counter("belfry_store_series_shed", "New series shed at the limit.").set(&[], s.shed_series as f64);
    own.counter("belfry_store_metadata_shed", "Metadata left out because there is as much as there may be.")
        .set(&[], s.shed_metadata as f64);
    own.gauge("belfry_store_wal_bytes", "Bytes of the write-ahead log.").set(&[], s.wal_bytes as f64);
    own.gauge("belfry_store_blocks", "Blocks on the disk.").set(&[], s.blocks as f64);
    own.gauge("belfry_store_block_bytes", "Bytes of the blocks.").set(&[], s.block_bytes as f64);
    own.gauge("belfry_store_bytes_on_disk", "Bytes of log and blocks.").set(&[], s.bytes_on_disk as f64);
    own.counter("belfry_store_flushes", "Times the head was written to a block.").set(&[], s.flushes as f64);
    let blocks = own.gauge("belfry_store_resolution_blocks", "Blocks by the resolution they were downsampled to.");
    for (ms, n) in &s.blocks_by_resolution {
        let resolution = match u64::try_from(*ms) {
            Ok(ms @ 1..) => format_duration(Duration::from_millis(ms)),
            _ => "full".to_owned(),
        };
        blocks.set(&[("resolution", resolution.as_str())], *n as f64);
    }
    own.counter("belfry_store_downsampled_blocks", "Blocks that became coarser.").set(&[], s.downsampled as f64);
    own.counter("belfry_store_downsample_failures", "Attempts to make a block coarser that failed.")
        .set(&[], s.downsample_failed as f64);
    own.gauge("belfry_store_maintain_seconds", "How long the last upkeep took.")
        .set(&[], s.last_maintain_micros as f64 / 1e6);
    let ok = matches!(app.store.health(), belfry_store::Health::Ok | belfry_store::Health::Degraded(_));
    own.gauge("belfry_store_healthy", "1 when samples can be written.").set(&[], f64::from(u8::from(ok)));
}

fn of_plugins(app: &App, own: &mut OwnMetrics) {
    for (name, entry) in app.plugins.all() {
        let label = ("name", name.as_str());
        let up = f64::from(u8::from(entry.plugin.is_some() && entry.refused.is_none()));
        own.gauge("belfry_plugin_up", "1 when what runs is what is wanted.").set(&[label], up);
        let Some(s) = entry.plugin.map(|p| p.status()) else { continue };
        own.counter("belfry_plugin_calls", "Calls, by plugin.").set(&[label], s.calls as f64);
        for (class, n) in &s.errors {
            own.counter("belfry_plugin_call_errors", "Calls that failed, by plugin and class.")
                .set(&[label, ("class", class)], *n as f64);
        }
        own.counter("belfry_plugin_call_seconds", "Wall time of calls.").set(&[label], s.call_time_total.as_secs_f64());
        own.counter("belfry_plugin_cpu_seconds", "CPU time of calls.").set(&[label], s.cpu_time.as_secs_f64());
        own.gauge("belfry_plugin_memory_bytes", "Linear memories.").set(&[label], s.memory_bytes as f64);
        own.gauge("belfry_plugin_memory_peak_bytes", "The most they were.").set(&[label], s.memory_peak_bytes as f64);
        own.gauge("belfry_plugin_series", "Series open.").set(&[label], s.open_series as f64);
        own.counter("belfry_plugin_restarts", "Instances made after the first.").set(&[label], s.restarts as f64);
        own.counter("belfry_plugin_swaps", "Hot swaps.").set(&[label], s.swaps as f64);
        own.counter("belfry_plugin_log_lines_dropped", "Log lines past the limit.")
            .set(&[label], s.log_lines_dropped as f64);
        own.gauge("belfry_plugin_queued_calls", "Calls that wait.").set(&[label], s.queued as f64);
    }
}

fn of_rules(app: &App, own: &mut OwnMetrics) {
    for r in app.organs.rules.lock().snapshot() {
        let rule = ("rule", r.rule.name.as_str());
        own.counter("belfry_rule_evaluations", "Evaluations, by rule.").set(&[rule], r.evaluations as f64);
        own.counter("belfry_rule_failures", "Evaluations that failed.").set(&[rule], r.failures as f64);
        own.counter("belfry_rule_missed", "Evaluations left out because one was still running.")
            .set(&[rule], r.missed as f64);
        own.gauge("belfry_rule_alerts", "Alerts that the rule has.").set(&[rule], r.alerts.len() as f64);
        if let Some(d) = r.last_duration {
            own.gauge("belfry_rule_evaluation_seconds", "How long the last one took.").set(&[rule], d.as_secs_f64());
        }
    }
}

fn of_notify(app: &App, own: &mut OwnMetrics) {
    let told = app.organs.notify.lock().snapshot();
    own.gauge("belfry_notify_groups", "Groups of alerts.").set(&[], told.groups.len() as f64);
    for c in &told.channels {
        let channel = ("channel", c.channel.as_str());
        own.counter("belfry_notify_deliveries", "Deliveries, by channel and outcome.")
            .set(&[channel, ("outcome", "accepted")], c.accepted as f64)
            .set(&[channel, ("outcome", "failed")], c.failed as f64)
            .set(&[channel, ("outcome", "given_up")], c.given_up as f64);
        own.gauge("belfry_notify_in_flight", "Deliveries on their way.").set(&[channel], c.in_flight as f64);
    }
}

fn of_reports(app: &App, own: &mut OwnMetrics) {
    for (name, m) in app.making.lock().iter() {
        let report = ("report", name.as_str());
        own.counter("belfry_reports", "Reports by outcome.")
            .set(&[report, ("outcome", "made")], m.made as f64)
            .set(&[report, ("outcome", "failed")], m.failed as f64);
    }
}
