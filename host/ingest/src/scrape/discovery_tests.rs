use std::net::Ipv4Addr;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, NS, SRV};
use hickory_resolver::proto::rr::{Name, Record};
use tokio::net::UdpSocket;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// What the name server knows: `Err` is its own failure.
fn records(asked: &str) -> Result<Vec<RData>, ResponseCode> {
    let a = |last: u8| RData::A(A(Ipv4Addr::new(10, 0, 0, last)));
    Ok(match asked {
        "_metrics._tcp.example.org." => vec![
            RData::SRV(SRV::new(1, 2, 9200, name("b.example.org."))),
            RData::SRV(SRV::new(1, 2, 9100, name("a.example.org."))),
        ],
        "nodes.example.org." => vec![a(2), a(1)],
        "other.example.org." => vec![RData::CNAME(CNAME(name("nodes.example.org."))), a(1)],
        "mail.example.org." => vec![RData::MX(MX::new(10, name("mx.example.org.")))],
        "zone.example.org." => vec![RData::NS(NS(name("ns.example.org.")))],
        "empty.example.org." => Vec::new(),
        "broken.example.org." => return Err(ResponseCode::ServFail),
        "closed.example.org." => return Err(ResponseCode::Refused),
        _ => return Err(ResponseCode::NXDomain),
    })
}

/// A name server for as long as the test runs.
async fn server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            message.metadata.message_type = MessageType::Response;
            let asked = message.queries[0].name().clone();
            let mut owner = asked.clone();
            match records(&asked.to_string().to_lowercase()) {
                Ok(found) => {
                    for data in found {
                        let next = if let RData::CNAME(to) = &data { to.0.clone() } else { owner.clone() };
                        message.add_answer(Record::from_rdata(owner, 60, data));
                        owner = next;
                    }
                }
                Err(code) => message.metadata.response_code = code,
            }
            socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

async fn look_up(name: &str, kind: DnsKind) -> Result<Vec<String>, String> {
    let dns = Dns::new(Some(server().await)).unwrap();
    let groups = dns.look_up(name, kind, 9100).await?;
    Ok(groups.iter().map(|g| format!("{} {}", g.addresses.join(" "), g.labels)).collect())
}

#[tokio::test]
async fn services_come_with_their_ports_and_the_labels_that_prometheus_gives() {
    let found = look_up("_metrics._tcp.example.org", DnsKind::Srv).await.unwrap();
    let group = |host: &str, port: u16| {
        format!(
            "{host}:{port} {{__meta_dns_name=\"_metrics._tcp.example.org\", __meta_dns_srv_record_port=\"{port}\", \
             __meta_dns_srv_record_target=\"{host}.\"}}"
        )
    };
    assert_eq!(found, [group("a.example.org", 9100), group("b.example.org", 9200)]);
}

#[tokio::test]
async fn other_records_get_the_configured_port() {
    let nodes = ["10.0.0.1:9100", "10.0.0.2:9100"].map(|a| format!("{a} {{__meta_dns_name=\"nodes.example.org\"}}"));
    assert_eq!(look_up("nodes.example.org", DnsKind::A).await.unwrap(), nodes);
    let one = |host: &str, name: &str, kind: &str| {
        let target = format!("__meta_dns_{kind}_record_target=\"{host}.\"");
        let mut labels = [format!("__meta_dns_name=\"{name}\""), target];
        labels.sort();
        vec![format!("{host}:9100 {{{}}}", labels.join(", "))]
    };
    let mail = one("mx.example.org", "mail.example.org", "mx");
    assert_eq!(look_up("mail.example.org", DnsKind::Mx).await.unwrap(), mail);
    let zone = one("ns.example.org", "zone.example.org", "ns");
    assert_eq!(look_up("zone.example.org", DnsKind::Ns).await.unwrap(), zone);
}

#[tokio::test]
async fn another_name_is_no_address() {
    let found = look_up("other.example.org", DnsKind::A).await.unwrap();
    assert_eq!(found, ["10.0.0.1:9100 {__meta_dns_name=\"other.example.org\"}"]);
}

#[tokio::test]
async fn no_record_is_an_answer_and_a_failure_is_none() {
    assert_eq!(look_up("empty.example.org", DnsKind::A).await, Ok(Vec::new()));
    assert_eq!(look_up("unknown.example.org", DnsKind::Srv).await, Ok(Vec::new()));
    for name in ["broken.example.org", "closed.example.org"] {
        let error = look_up(name, DnsKind::A).await.unwrap_err();
        assert!(error.starts_with(&format!("DNS: {name}: ")), "{error}");
    }
}
