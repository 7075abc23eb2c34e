//! Discovery, as a node runs it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pleiad_types::limits::ADDRESSES_MAX;
use tokio::sync::watch;

use crate::addresses::{AddressError, Interface, reachable};
use crate::discovery::doctor::{DiscoveryState, Facts, Refused, Unreachable};
use crate::discovery::here::{Here, Neighbour, default_directory};
use crate::discovery::network::Network;
use crate::discovery::{Announcement, Reached};
use crate::greet;
use crate::mesh::Mesh;

/// Ends when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    is_on: bool,
    /// In its place among the nodes of this machine, until this is dropped.
    here: Option<Arc<Here>>,
    pub(crate) network: Option<Network>,
    /// What does not work.
    pub(crate) problem: Option<String>,
    /// Ends when all nodes of this machine that were there have been greeted.
    pub(crate) greetings: Option<watch::Receiver<()>>,
}

impl Discovery {
    /// None at all.
    pub(crate) fn off() -> Self {
        Self::default()
    }

    /// Lets itself be found no more.
    pub(crate) async fn stop(self) {
        if let Some(network) = self.network {
            network.stop().await;
        }
    }

    /// What is known about why nobody is found.
    pub(crate) fn facts(&self, mesh: &Mesh) -> Facts {
        let problem = self.network.as_ref().and_then(Network::last_error).or(self.problem.clone());
        let discovery = match problem {
            _ if !self.is_on => DiscoveryState::Off,
            Some(problem) => DiscoveryState::Failing(problem),
            None => DiscoveryState::On,
        };
        let interfaces = Interface::all().unwrap_or_default();
        let known = mesh.facts();
        let refused = known.refused.iter();
        let unreachable = known.unreachable.iter();
        Facts {
            peers: mesh.online().len(),
            discovery,
            listeners: known.listeners.clone(),
            interfaces: interfaces.into_iter().map(Into::into).collect(),
            other_clusters: self.network.as_ref().map_or(0, Network::other_clusters),
            refused: refused
                .map(|(node, why)| Refused { node: node.clone(), why: why.clone() })
                .collect(),
            unreachable: unreachable
                .map(|(peer, error)| Unreachable { peer: peer.clone(), error: error.clone() })
                .collect(),
        }
    }

    /// `directory`: where nodes of this machine meet, if it is not the usual place.
    pub(crate) async fn start(
        mesh: &Arc<Mesh>,
        me: Announcement,
        listeners: Vec<SocketAddr>,
        directory: Option<PathBuf>,
    ) -> Self {
        let mut discovery = Self { is_on: true, ..Self::default() };
        let here = match directory {
            Some(directory) => Ok(directory.join(&me.cluster)),
            None => default_directory(&me.cluster),
        };
        let local = local_addresses(&listeners);
        let (node, name) = (me.node, me.name.clone());
        let joined = tokio::task::spawn_blocking(move || Here::join(&here?, node, &name, &local));
        match joined.await {
            Ok(Ok((here, neighbours))) => {
                let here = Arc::new(here);
                let (greeting, greetings) = watch::channel(());
                for neighbour in neighbours {
                    let (greeting, greet) =
                        (greeting.clone(), greet_neighbour(mesh.clone(), here.clone(), neighbour));
                    mesh.own().spawn(async move {
                        greet.await;
                        drop(greeting);
                    });
                }
                discovery.greetings = Some(greetings);
                discovery.here = Some(here);
            }
            Ok(Err(error)) => discovery.fail(&error),
            Err(error) => discovery.fail(&error),
        }
        if listeners.iter().any(|address| !address.ip().is_loopback()) {
            let started = {
                let _entered = mesh.own().enter();
                Network::start(me)
            };
            match started {
                Ok((network, mut found)) => {
                    let mesh = mesh.clone();
                    mesh.own().clone().spawn(async move {
                        while let Some(found) = found.recv().await {
                            if mesh.link(found.node).is_none() {
                                found.addresses.iter().for_each(|at| mesh.handle_heard(*at));
                            }
                        }
                    });
                    discovery.network = Some(network);
                }
                Err(error) => discovery.fail(&error),
            }
        }
        discovery
    }

    fn fail(&mut self, error: &dyn std::error::Error) {
        let text = crate::mesh::with_sources(error);
        tracing::warn!(error = text, "discovery does not work");
        self.problem = Some(text);
    }

    /// Where others can dial, as text. `listeners`: where it listens.
    pub(crate) fn addresses(
        reached: &Reached,
        listeners: &[SocketAddr],
    ) -> Result<Vec<String>, AddressError> {
        let addresses = match reached {
            Reached::At(addresses) => addresses.clone(),
            Reached::Everywhere(_) => {
                let interfaces = Interface::all().map_err(AddressError::Interfaces)?;
                reachable(listeners, &interfaces)
            }
        };
        Ok(addresses.iter().take(ADDRESSES_MAX).map(ToString::to_string).collect())
    }
}

/// Where nodes of the same machine dial.
fn local_addresses(listeners: &[SocketAddr]) -> Vec<SocketAddr> {
    let local = |address: &SocketAddr| {
        let mut address = *address;
        if address.ip().is_unspecified() {
            let is_v4 = address.is_ipv4();
            address.set_ip(if is_v4 {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        address
    };
    listeners.iter().map(local).collect()
}

async fn greet_neighbour(mesh: Arc<Mesh>, here: Arc<Here>, neighbour: Neighbour) {
    if mesh.link(neighbour.node).is_some() {
        return;
    }
    let Neighbour { name, process, .. } = &neighbour;
    tracing::debug!(name, process, "a node of this machine");
    let mut is_refused = !neighbour.addresses.is_empty();
    for address in &neighbour.addresses {
        match greet::reach(&mesh, *address).await {
            Ok(_) => return,
            Err(error) => {
                is_refused &= greet::is_nobody_there(&error);
                if !greet::is_nobody_there(&error) {
                    mesh.handle_unreachable(*address, &error);
                }
            }
        }
    }
    if is_refused {
        // It was killed, and could not clean up.
        let _ = tokio::task::spawn_blocking(move || here.forget(&neighbour)).await;
    }
}
