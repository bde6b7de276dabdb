use super::*;
use belfry_sdk::system::{Cpu, HostInfo, Load, Memory};
use belfry_sdk::testing::{Host, System};

fn cpu(core: &str, usage_percent: f64) -> Cpu {
    Cpu {
        core: core.into(),
        user_s: 10.0,
        system_s: 5.0,
        idle_s: 100.0,
        iowait_s: 1.0,
        steal_s: 0.0,
        other_s: 0.0,
        usage_percent,
        frequency_mhz: 2400,
    }
}

fn disk(device: &str, mount: &str, filesystem: &str) -> Disk {
    Disk {
        device: device.into(),
        mount: mount.into(),
        filesystem: filesystem.into(),
        total: 1000,
        used: 300,
        free: 600,
        read_bytes: 7,
        written_bytes: 8,
        reads: 1,
        writes: 2,
        io_s: 0.5,
    }
}

fn network(name: &str) -> Network {
    Network {
        name: name.into(),
        received_bytes: 11,
        sent_bytes: 12,
        received_packets: 1,
        sent_packets: 2,
        receive_errors: 0,
        send_errors: 3,
    }
}

fn machine() -> System {
    System {
        cpus: Some(vec![cpu("0", 20.0), cpu("1", 40.0)]),
        load: Some(Load { one: 1.0, five: 0.5, fifteen: 0.25 }),
        memory: Some(Memory {
            total: 1000,
            used: 400,
            available: 600,
            free: 100,
            cached: 450,
            buffers: 50,
            swap_total: 200,
            swap_used: 50,
        }),
        disks: Some(vec![disk("sda1", "/", "ext4"), disk("sda1", "/home", "ext4"), disk("none", "/run", "tmpfs")]),
        networks: Some(vec![network("eth0"), network("veth12")]),
        processes: Some(Vec::new()),
        sensors: Some(Vec::new()),
        host: Some(HostInfo {
            name: "box".into(),
            os: "Linux".into(),
            kernel: "6".into(),
            uptime_s: 77,
            boot_ms: 0,
            container: false,
        }),
    }
}

fn collected(system: System, config: &str) -> Host {
    let host = Host::new();
    host.set_system(system);
    let mut plugin = host.configure::<SystemCollector>(config).unwrap();
    host.collect(&mut plugin).unwrap();
    host
}

#[test]
fn the_agreed_names_and_labels_are_there() {
    let host = collected(machine(), "{}");
    for (metric, labels, value) in [
        ("system_cpu_usage_percent", &[("core", "1")][..], 40.0),
        ("system_cpu_usage_percent", &[("core", "total")], 30.0),
        ("system_cpu_seconds_total", &[("mode", "user")], 20.0),
        ("system_load_average", &[("period", "5m")], 0.5),
        ("system_memory_usage_bytes", &[("type", "cached")], 450.0),
        ("system_memory_usage_percent", &[], 40.0),
        ("system_swap_usage_bytes", &[("type", "free")], 150.0),
        ("system_disk_usage_bytes", &[("path", "/home"), ("type", "used")], 300.0),
        ("system_disk_io_bytes_total", &[("device", "sda1"), ("direction", "write")], 8.0),
        ("system_network_traffic_bytes_total", &[("interface", "eth0"), ("direction", "transmit")], 12.0),
        ("system_uptime_seconds", &[], 77.0),
        ("system_info", &[("host", "box"), ("os", "Linux"), ("kernel", "6")], 1.0),
    ] {
        assert_eq!(host.value(metric, labels), Some(value), "{metric} {labels:?}");
    }
}

#[test]
fn a_used_share_is_of_what_can_be_used() {
    // 300 used, 600 free: the 100 reserved for root count as neither.
    let host = collected(machine(), "{}");
    let share = host.value("system_disk_usage_percent", &[("path", "/")]).unwrap();
    assert!((share - 33.333).abs() < 0.01, "{share}");
}

#[test]
fn pseudo_file_systems_and_container_links_are_left_out() {
    let host = collected(machine(), "{}");
    assert_eq!(host.value("system_disk_usage_bytes", &[("path", "/run"), ("type", "used")]), None);
    assert_eq!(
        host.value("system_network_traffic_bytes_total", &[("interface", "veth12"), ("direction", "receive")]),
        None
    );
}

#[test]
fn a_containers_overlay_root_is_measured() {
    let system = System { disks: Some(vec![disk("overlay", "/", "overlay")]), ..machine() };
    let host = collected(system, "{}");
    assert_eq!(host.value("system_disk_usage_bytes", &[("path", "/"), ("type", "free")]), Some(600.0));
}

#[test]
fn the_sum_the_host_gives_is_taken() {
    let system = System { cpus: Some(vec![cpu("total", 31.0), cpu("0", 20.0), cpu("1", 40.0)]), ..machine() };
    let host = collected(system, r#"{"per_core": false}"#);
    assert_eq!(host.value("system_cpu_usage_percent", &[("core", "total")]), Some(31.0));
    assert_eq!(host.value("system_cpu_count", &[]), Some(2.0));
    assert_eq!(host.value("system_cpu_usage_percent", &[("core", "0")]), None);
}

#[test]
fn an_area_that_is_not_granted_is_said_once_and_stops_nothing() {
    let host = Host::new();
    host.set_system(System { disks: None, ..machine() });
    let mut plugin = host.configure::<SystemCollector>("{}").unwrap();
    for _ in 0..3 {
        host.collect(&mut plugin).unwrap();
    }
    assert_eq!(host.logs().len(), 1, "{:?}", host.logs());
    assert!(host.value("system_memory_total_bytes", &[]).is_some());
}

#[test]
fn nothing_granted_is_an_error() {
    let host = Host::new();
    let mut plugin = host.configure::<SystemCollector>("{}").unwrap();
    assert!(host.collect(&mut plugin).unwrap_err().is_denied());
}

#[test]
fn the_schema_and_the_config_agree() {
    let schema: belfry_sdk::serde_json::Value =
        belfry_sdk::serde_json::from_str(include_str!("../config.schema.json")).unwrap();
    let defaults = belfry_sdk::testing::schema_defaults(&schema);
    let config: Config = belfry_sdk::serde_json::from_value(defaults).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
}
