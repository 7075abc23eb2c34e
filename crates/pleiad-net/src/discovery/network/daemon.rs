//! The thread of mdns-sd, and how a node is told in records: SRV and addresses for one that is reached
//! everywhere; for others, the addresses stand in the TXT record.

use std::net::SocketAddr;
use std::time::Duration;

use mdns_sd::{
    DaemonEvent, DaemonStatus, IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon,
    ServiceEvent, ServiceInfo,
};
use pleiad_types::limits::ADDRESSES_MAX;
use tokio::time::timeout;
use tracing::debug;

use super::super::sieve::Said;
use super::super::{Announcement, Reached};
use super::{NetworkError, Wire};
use crate::addresses::with_scope;

const SERVICE: &str = "_pleiad._tcp.local.";

/// What the daemon counts that others can make grow.
const RECORDS: &[&str] = &[
    "cached-ptr",
    "cached-srv",
    "cached-addr",
    "cached-txt",
    "cached-nsec",
    "cached-subtype",
    "timer",
];

/// How long the thread may take for an answer. It never waits for anything but its sockets.
const ANSWER: Duration = Duration::from_millis(500);

/// A running thread. Dropped, it says goodbye and ends on its own.
pub(super) struct Daemon {
    handle: ServiceDaemon,
    pub(super) notices: Receiver<DaemonEvent>,
    /// Ends if it is not read for long: then [`browse`](Self::browse) again.
    pub(super) events: Receiver<ServiceEvent>,
}

impl Daemon {
    pub(super) fn start(wire: &Wire, me: &Announcement) -> Result<Self, NetworkError> {
        let service = service(me, wire.is_loopback)?;
        let handle = ServiceDaemon::new_with_port(wire.port)?;
        let begin = || {
            let notices = handle.monitor()?;
            if wire.is_loopback {
                handle.disable_interface(IfKind::All)?;
                handle.enable_interface(IfKind::LoopbackV4)?;
            } else {
                handle.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
            }
            handle.register(service)?;
            Ok((notices, handle.browse(SERVICE)?))
        };
        match begin() {
            Ok((notices, events)) => Ok(Self { handle, notices, events }),
            Err(error) => {
                let _ = handle.shutdown();
                Err(NetworkError::Mdns(error))
            }
        }
    }

    /// Asks who is there. Those already known come again.
    pub(super) fn browse(&mut self) -> Result<(), mdns_sd::Error> {
        self.events = self.handle.browse(SERVICE)?;
        Ok(())
    }

    /// How many records it remembers; nothing if it does not say: it answers only between packets.
    pub(super) async fn records(&self) -> Option<u64> {
        let answer = self.handle.get_metrics().ok()?;
        let metrics = timeout(ANSWER, answer.recv_async()).await.ok()?.ok()?;
        let counts = RECORDS.iter().filter_map(|name| metrics.get(*name));
        Some(counts.filter_map(|count| u64::try_from(*count).ok()).sum())
    }

    /// Lets it say goodbye and end. What it gives then comes, or ends, when its thread is at its end.
    pub(super) fn end(&self) -> Option<Receiver<DaemonStatus>> {
        self.handle.shutdown().ok()
    }

    /// As [`end`](Self::end), and waits for it.
    pub(super) async fn stop(self) {
        let Some(ended) = self.end() else { return };
        if timeout(ANSWER, ended.recv_async()).await.is_err() {
            debug!("the thread for the network takes long to end");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // An error says that it has ended already.
        let _ = self.handle.shutdown();
    }
}

/// The node as records. The name of its host is made up: another program tells of the real one.
fn service(me: &Announcement, with_loopback: bool) -> Result<ServiceInfo, NetworkError> {
    let node = format!("{:016x}", me.node.0);
    let versions = format!("{}-{}", me.versions.0, me.versions.1);
    let texts = [("cluster", &me.cluster), ("node", &node), ("name", &me.name), ("v", &versions)];
    let mut texts: Vec<_> =
        texts.into_iter().map(|(key, text)| (key.to_owned(), text.clone())).collect();
    let port = match &me.reached {
        Reached::Everywhere(port) => *port,
        Reached::At(addresses) => {
            let useful = addresses.iter().filter(|a| with_loopback || !a.ip().is_loopback());
            let useful: Vec<_> = useful.take(ADDRESSES_MAX).collect();
            let first = useful.first().ok_or(NetworkError::NoAddress)?;
            let numbered = useful.iter().enumerate();
            texts.extend(numbered.map(|(n, address)| (format!("at{n}"), address.to_string())));
            first.port()
        }
    };
    let host = format!("pleiad-{node}.local.");
    let service = ServiceInfo::new(SERVICE, &node, &host, (), port, &texts[..])?;
    let mut service = service.enable_addr_auto();
    // Nobody else has the name by chance. Without the question whether, a node is found 0.75 s sooner.
    service.set_requires_probe(false);
    Ok(service)
}

/// What the records of a service say.
pub(super) fn said_by(service: &ResolvedService) -> Said<'_> {
    let text = |key| service.get_property_val_str(key).unwrap_or_default();
    let named = (0..ADDRESSES_MAX).map_while(|n| {
        let address = service.get_property_val_str(&format!("at{n}"))?;
        address.parse().ok()
    });
    let mut addresses: Vec<SocketAddr> = named.collect();
    if addresses.is_empty() {
        addresses.extend(service.addresses.iter().filter_map(|ip| address_of(ip, service.port)));
        // They come in no order. IPv4 first, as in what a node announces itself.
        addresses.sort_unstable();
        addresses.truncate(ADDRESSES_MAX);
    }
    Said { cluster: text("cluster"), node: text("node"), name: text("name"), addresses }
}

fn address_of(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    let scope = match ip {
        ScopedIp::V4(_) => 0,
        ScopedIp::V6(ip) => ip.scope_id().index,
        _ => return None,
    };
    Some(with_scope(ip.to_ip_addr(), port, scope))
}
