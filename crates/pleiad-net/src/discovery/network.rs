//! Nodes on other machines of the local network, by mDNS and DNS-SD (RFC 6762, RFC 6763).

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mdns_sd::{DaemonEvent, DaemonStatus, Receiver, ResolvedService, ServiceEvent};
use pleiad_types::limits::{FOUND_MAX, NETWORK_RECORDS_MAX};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{trace, warn};

use daemon::{Daemon, said_by};

use super::sieve::Sieve;
use super::{Announcement, Found};

mod daemon;

/// How often in a row the daemon may not answer, half a second each, before it is ended.
const SILENT_MAX: u32 = 2;

/// Which packets are sent where.
#[derive(Clone, Debug)]
struct Wire {
    /// 5353, as everybody; others are for tests.
    port: u16,
    /// Loopback interfaces only, or all others: on loopback, nodes meet in a directory.
    is_loopback: bool,
    /// How often the number of records is looked at.
    check_interval: Duration,
    records_max: u64,
}

impl Wire {
    const USUAL: Self = Self {
        port: mdns_sd::MDNS_PORT,
        is_loopback: false,
        check_interval: Duration::from_secs(2),
        records_max: NETWORK_RECORDS_MAX,
    };
}

/// Announces a node on the local network, and listens for others; until this is stopped or dropped.
///
/// # What is promised
///
/// - Nothing is sent and nothing is listened to before [`start`](Self::start) and after
///   [`stop`](Self::stop).
/// - All interfaces that are up are used but loopback and point-to-point ones, by IPv4 and IPv6; one
///   that comes up later within 5 s.
/// - An address is given at most once a second. A node of another cluster is not given, nor this one.
/// - What is remembered of others is bounded, and thrown away if somebody sends more. While packets
///   come faster than they can be read, nobody is found, and memory is bounded only by the speed of
///   reading: see [`Runner::check`].
///
/// - A node that starts is found by those who are there at once, and finds them within 0.1 s
///   (measured); if datagrams are lost, or two start at the same moment, in 1 to 3 s.
///
/// Not promised: that everybody is found. Many networks carry no such datagrams.
#[derive(Debug)]
pub(crate) struct Network {
    /// Says that questions are to be asked again; closed to stop.
    refresh: mpsc::Sender<()>,
    runner: JoinHandle<()>,
    seen: Arc<Seen>,
}

/// What is known besides those who are found.
#[derive(Debug, Default)]
struct Seen {
    other_clusters: AtomicUsize,
    error: Mutex<Option<String>>,
    restarts: AtomicUsize,
}

impl Network {
    /// Starts to announce and to listen. Those who are found come by the receiver, which may be
    /// dropped if nobody wants to know; if it is full, the network waits.
    ///
    /// # Errors
    ///
    /// [`NetworkError`]; then nothing goes on.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(crate) fn start(me: Announcement) -> Result<(Self, mpsc::Receiver<Found>), NetworkError> {
        Self::start_on(Wire::USUAL, me)
    }

    fn start_on(
        wire: Wire,
        me: Announcement,
    ) -> Result<(Self, mpsc::Receiver<Found>), NetworkError> {
        let (found, receiver) = mpsc::channel(FOUND_MAX);
        let (refresh, commands) = mpsc::channel(1);
        let seen = Arc::new(Seen::default());
        let sieve = Sieve::new(me.node, me.cluster.clone(), wire.is_loopback);
        let daemon = Daemon::start(&wire, &me)?;
        let runner = Runner {
            wire,
            me,
            daemon,
            hears: true,
            warns: true,
            ending: None,
            silent: 0,
            sieve,
            seen: seen.clone(),
        };
        Ok((Self { refresh, runner: tokio::spawn(runner.run(commands, found)), seen }, receiver))
    }

    /// Asks again who is there. Those already known are given again too, except within a second.
    pub(crate) fn refresh(&self) {
        // If there is no room, it is asked soon anyway.
        let _ = self.refresh.try_send(());
    }

    /// How many other clusters have been heard of, up to a limit.
    pub(crate) fn other_clusters(&self) -> usize {
        self.seen.other_clusters.load(Ordering::Relaxed)
    }

    /// The last thing that went wrong, in the words of the system.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.seen.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says goodbye to the others, and ends. Takes at most a second.
    ///
    /// # Cancel safety
    ///
    /// The end is under way once this was polled, and happens though the future is dropped.
    pub(crate) async fn stop(self) {
        drop(self.refresh);
        if let Err(error) = self.runner.await {
            warn!(%error, "discovery on the network ended by a panic");
        }
    }
}

/// What runs until its commands end.
struct Runner {
    wire: Wire,
    me: Announcement,
    daemon: Daemon,
    /// Whether the daemon says what it hears; it ends that if it is not listened to.
    hears: bool,
    /// Whether it says what goes wrong.
    warns: bool,
    /// Set while it comes to its end; then there is to be another.
    ending: Option<Receiver<DaemonStatus>>,
    /// How often in a row it has not said how much it remembers.
    silent: u32,
    sieve: Sieve,
    seen: Arc<Seen>,
}

impl Runner {
    async fn run(mut self, mut commands: mpsc::Receiver<()>, found: mpsc::Sender<Found>) {
        let mut check = interval(self.wire.check_interval);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = None;
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(()) => self.hears = self.browse(),
                    None => break,
                },
                room = found.reserve(), if waiting.is_some() => {
                    if let (Ok(room), Some(found)) = (room, waiting.take()) {
                        room.send(found);
                    }
                }
                event = self.daemon.events.recv_async(), if self.hears && waiting.is_none() => {
                    match event {
                        Ok(ServiceEvent::ServiceResolved(service)) => {
                            waiting = self.look_at(&service);
                        }
                        Ok(event) => trace!(?event, "from the network"),
                        Err(_) => self.hears = false,
                    }
                }
                notice = self.daemon.notices.recv_async(), if self.warns => match notice {
                    Ok(DaemonEvent::Error(error)) => self.fail(&error),
                    Ok(notice) => trace!(?notice, "from the network"),
                    Err(_) => self.warns = false,
                },
                () = ended(self.ending.as_ref()), if self.ending.is_some() => self.replace(),
                _ = check.tick(), if self.ending.is_none() => self.check().await,
            }
        }
        self.daemon.stop().await;
    }

    fn look_at(&mut self, service: &ResolvedService) -> Option<Found> {
        let found = self.sieve.pass(Instant::now(), &said_by(service));
        self.seen.other_clusters.store(self.sieve.other_clusters(), Ordering::Relaxed);
        found
    }

    /// Whether the daemon takes the question.
    fn browse(&mut self) -> bool {
        self.daemon.browse().inspect_err(|error| self.fail(error)).is_ok()
    }

    /// Looks whether the daemon is well. It has no limit of its own to what it remembers, so it is
    /// ended if somebody has made it remember too much, or keeps it so busy that it cannot say.
    async fn check(&mut self) {
        if !self.hears {
            self.hears = self.browse();
        }
        let records = self.daemon.records().await;
        self.silent = if records.is_some() { 0 } else { self.silent + 1 };
        let is_flooded = records.is_some_and(|records| records > self.wire.records_max);
        if !is_flooded && self.silent < SILENT_MAX {
            return;
        }
        warn!(records, "discovery begins anew: the network is flooded, or the daemon has ended");
        // Not yet another: there is never more than one.
        match self.daemon.end() {
            Some(ending) => self.ending = Some(ending),
            None => self.replace(),
        }
    }

    fn replace(&mut self) {
        (self.ending, self.silent) = (None, 0);
        match Daemon::start(&self.wire, &self.me) {
            Ok(daemon) => {
                (self.daemon, self.hears, self.warns) = (daemon, true, true);
                self.seen.restarts.fetch_add(1, Ordering::Relaxed);
            }
            // The next check tries again.
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&self, error: &dyn Error) {
        warn!(%error, "discovery on the network");
        let mut last = self.seen.error.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(error.to_string());
    }
}

/// Waits until the daemon is at its end.
async fn ended(ending: Option<&Receiver<DaemonStatus>>) {
    if let Some(ending) = ending {
        let _ = ending.recv_async().await;
    }
}

/// Why a node cannot be announced on the network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The system gives no socket or thread, or what is to be announced does not fit.
    #[error("cannot announce this node on the local network: go on without, or name peers")]
    Mdns(#[from] mdns_sd::Error),
    /// A node without an address cannot be reached by anybody, one on loopback not by others.
    #[error("other machines cannot reach this node: let it listen at more than loopback addresses")]
    NoAddress,
}

#[cfg(test)]
mod tests;
