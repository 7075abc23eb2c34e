//! Discovery, as a node runs it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pleiad_types::limits::ADDRESSES_MAX;

use crate::addresses::{AddressError, Interface, reachable};
use crate::discovery::here::{Here, Neighbour, default_directory};
use crate::discovery::network::Network;
use crate::discovery::{Announcement, Reached};
use crate::error::ConnectError;
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
}

impl Discovery {
    /// None at all.
    pub(crate) fn off() -> Self {
        Self::default()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
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
                for neighbour in neighbours {
                    mesh.own().spawn(greet_neighbour(mesh.clone(), here.clone(), neighbour));
                }
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

    /// Where others can dial, as text.
    pub(crate) fn addresses(reached: &Reached) -> Result<Vec<String>, AddressError> {
        let addresses = match reached {
            Reached::At(addresses) => addresses.clone(),
            Reached::Everywhere(port) => {
                let interfaces = Interface::all().map_err(AddressError::Interfaces)?;
                reachable(&[SocketAddr::from(([0, 0, 0, 0], *port))], &interfaces)
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
    let mut is_refused = !neighbour.addresses.is_empty();
    for address in &neighbour.addresses {
        match greet::dial(&mesh, *address).await {
            Ok(_) => return,
            Err(error) => {
                is_refused &= is_refusal(&error);
                if !is_refusal(&error) {
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

fn is_refusal(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Unreachable { source, .. }
        if source.kind() == io::ErrorKind::ConnectionRefused)
}
