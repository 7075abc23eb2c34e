//! Several machines on one network: namespaces with a bridge between them.
//!
//! Needs root, `ip`, and namespaces; where they are not to be had, a line says so.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use pleiad_net::{Node, NodeBuilder, PeerEvent};
use pleiad_task::{TaskRef, spawn};

use crate::common::{Lab, Say, listener, ms, soon};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Machines that are connected by networks of their own.
struct World {
    prefix: String,
    machines: usize,
    networks: usize,
}

impl World {
    /// None, if that is not permitted here.
    fn new(machines: usize, networks: usize) -> Option<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("pl{}x{number}", std::process::id() % 100_000);
        let world = Self { prefix, machines, networks };
        let hub = world.hub();
        if !run(&["netns", "add", &hub]).is_some_and(|out| out.status.success()) {
            println!("skipped: no network namespaces here");
            return None;
        }
        for network in 0..networks {
            ip_in(&hub, &["link", "add", &format!("br{network}"), "type", "bridge"]);
            ip_in(&hub, &["link", "set", &format!("br{network}"), "up"]);
        }
        for machine in 0..machines {
            let space = world.space(machine);
            ip(&["netns", "add", &space]);
            ip_in(&space, &["link", "set", "lo", "up"]);
            for network in 0..networks {
                let (near, far) = (format!("eth{network}"), format!("m{machine}n{network}"));
                let pair = ["link", "add", &near, "netns", &space, "type", "veth", "peer", "name"];
                ip(&[&pair[..], &[&far, "netns", &hub]].concat());
                ip_in(&hub, &["link", "set", &far, "master", &format!("br{network}"), "up"]);
                ip_in(&space, &["link", "set", &near, "up"]);
                let v4 = format!("{}/24", v4(network, machine));
                ip_in(&space, &["addr", "add", &v4, "brd", "+", "dev", &near]);
                let v6 = format!("{}/64", v6(network, machine));
                ip_in(&space, &["addr", "add", &v6, "dev", &near, "nodad"]);
            }
        }
        Some(world)
    }

    fn hub(&self) -> String {
        format!("{}hub", self.prefix)
    }

    fn space(&self, machine: usize) -> String {
        format!("{}m{machine}", self.prefix)
    }

    /// The cable of a machine to a network is pulled out, or put in again.
    fn plug(&self, machine: usize, network: usize, is_in: bool) {
        let port = format!("m{machine}n{network}");
        ip_in(&self.hub(), &["link", "set", &port, if is_in { "up" } else { "down" }]);
    }

    /// Runs on a machine, on a thread of its own, until the world ends for it.
    fn on<T: Send + 'static>(
        &self,
        machine: usize,
        story: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let space = std::fs::File::open(format!("/run/netns/{}", self.space(machine)));
        let space = space.expect("the machine is there");
        std::thread::spawn(move || {
            // Threads that this one starts are there too.
            setns(space, CloneFlags::CLONE_NEWNET).expect("it is permitted");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(story())
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for machine in 0..self.machines {
            drop(run(&["netns", "del", &self.space(machine)]));
        }
        drop(run(&["netns", "del", &self.hub()]));
        assert!(self.networks > 0);
    }
}

/// The same cluster on all machines, and each with a place of its own to meet those of the same.
fn builder(lab: &Lab, name: &str) -> NodeBuilder {
    let key = pleiad_net::Home::at(lab.home()).and_then(|home| home.cluster_key());
    let own = lab.home().join(name);
    Node::builder().name(name).home(own).cluster(key.expect("a key")).lost_after(ms(1500))
}

fn v4(network: usize, machine: usize) -> String {
    format!("10.77.{network}.{}", machine + 1)
}

fn v6(network: usize, machine: usize) -> String {
    format!("fd77:{network}::{}", machine + 1)
}

#[test]
fn nodes_of_one_network_find_each_other() {
    let Some(world) = World::new(2, 1) else { return };
    let lab = std::sync::Arc::new(Lab::new());
    let stories: Vec<_> = (0..2)
        .map(|machine| {
            let lab = lab.clone();
            world.on(machine, async move || {
                let name = format!("m{machine}");
                let node = builder(&lab, &name).listen("0.0.0.0:0").start().await.unwrap();
                let task = spawn(listener);
                node.register(&name, &task).unwrap();
                let other = format!("m{}", 1 - machine);
                let far: TaskRef<Say> = soon(node.locate(&other)).await.unwrap();
                assert_eq!(soon(far.ask(|reply| Say::Echo(1, reply))).await.unwrap(), 1);
                // So that the other is done, too.
                soon(task.ask(|reply| Say::Echo(1, reply))).await.unwrap();
                tokio::time::sleep(ms(300)).await;
            })
        })
        .collect();
    for story in stories {
        story.join().unwrap();
    }
}

#[test]
fn a_peer_is_reached_by_its_address_of_version_6() {
    let Some(world) = World::new(2, 1) else { return };
    let lab = std::sync::Arc::new(Lab::new());
    let of_host = lab.clone();
    let host = world.on(0, async move || {
        let node = builder(&of_host, "host").listen("[::]:9705").discovery(false);
        let node = node.start().await.unwrap();
        let peer = soon(node.peer("guest")).await.unwrap();
        // Not before it was seen, so that it stays so long.
        node.register("task", &spawn(listener).detach()).unwrap();
        soon(peer.gone()).await;
    });
    let guest = world.on(1, async move || {
        let address = format!("[{}]:9705", v6(0, 0));
        let node = builder(&lab, "guest").listen("[::]:0").discovery(false).peer(address);
        let node = node.start().await.unwrap();
        let peer = soon(node.peer("host")).await.unwrap();
        let addresses = peer.addresses();
        assert!(addresses.iter().any(|at| *at == "[fd77::1]:9705"), "{addresses:?}");
        let far: TaskRef<Say> = soon(node.locate("task")).await.unwrap();
        assert_eq!(soon(far.ask(|reply| Say::Echo(1, reply))).await.unwrap(), 1);
        node.close().await;
    });
    guest.join().unwrap();
    host.join().unwrap();
}

/// Goal: of two networks, one is enough.
/// Method: the cable of the one that the connection uses is pulled out. The other address still leads there.
#[test]
fn a_peer_with_two_networks_survives_the_loss_of_one() {
    let Some(world) = World::new(2, 2) else { return };
    let lab = std::sync::Arc::new(Lab::new());
    let of_host = lab.clone();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let host = world.on(0, async move || {
        let node = builder(&of_host, "host").listen("0.0.0.0:9705").discovery(false);
        let node = node.lost_after(Duration::from_secs(4)).start().await.unwrap();
        let task = spawn(listener);
        node.register("task", &task).unwrap();
        let _ = tokio::task::spawn_blocking(move || ended.recv()).await;
    });
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    let guest = world.on(1, async move || {
        let node = builder(&lab, "guest").listen("0.0.0.0:0").discovery(false);
        let node = node.lost_after(Duration::from_secs(4)).peer(format!("{}:9705", v4(0, 0)));
        let node = node.start().await.unwrap();
        let far: TaskRef<Say> = soon(node.locate("task")).await.unwrap();
        let mut events = node.peer_events();
        assert!(matches!(soon(events.next()).await, Some(PeerEvent::Online(_))));
        ready.send(()).unwrap();
        is_cut.await.unwrap();
        let answer = soon(far.ask(|reply| Say::Echo(1, reply))).await;
        assert_eq!(answer.map_err(|error| error.to_string()), Ok(1));
    });
    soon_blocking(is_ready);
    world.plug(0, 0, false);
    cut.send(()).unwrap();
    let ended = guest.join();
    drop(end);
    host.join().unwrap();
    ended.unwrap();
}

/// Goal: a machine that gets another address is reached again.
/// Method: the host announces nothing; its guest dials a name that does not change, from another address.
#[test]
fn a_machine_that_changes_its_address_comes_back() {
    let Some(world) = World::new(2, 1) else { return };
    let lab = std::sync::Arc::new(Lab::new());
    let of_host = lab.clone();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let host = world.on(0, async move || {
        let node = builder(&of_host, "host").listen("0.0.0.0:9705").discovery(false);
        let node = node.start().await.unwrap();
        let task = spawn(listener);
        node.register("task", &task).unwrap();
        let _ = tokio::task::spawn_blocking(move || ended.recv()).await;
    });
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (changed, is_changed) = tokio::sync::oneshot::channel();
    let guest = world.on(1, async move || {
        let node = builder(&lab, "guest").listen("0.0.0.0:0").discovery(false);
        let node = node.peer(format!("{}:9705", v4(0, 0))).start().await.unwrap();
        let far: TaskRef<Say> = soon(node.locate("task")).await.unwrap();
        assert!(far.is_alive());
        ready.send(()).unwrap();
        is_changed.await.unwrap();
        let echo = async {
            loop {
                let far: TaskRef<Say> = node.locate("task").await.unwrap();
                if let Ok(1) = far.ask(|reply| Say::Echo(1, reply)).await {
                    return;
                }
            }
        };
        soon(echo).await;
    });
    soon_blocking(is_ready);
    let space = world.space(1);
    ip_in(&space, &["addr", "del", &format!("{}/24", v4(0, 1)), "dev", "eth0"]);
    ip_in(&space, &["addr", "add", "10.77.0.99/24", "dev", "eth0"]);
    changed.send(()).unwrap();
    let result = guest.join();
    drop(end);
    host.join().unwrap();
    result.unwrap();
}

fn soon_blocking<T>(ready: tokio::sync::oneshot::Receiver<T>) -> T {
    ready.blocking_recv().expect("it gets so far")
}

fn run(args: &[&str]) -> Option<Output> {
    Command::new("ip").args(args).output().ok()
}

fn ip(args: &[&str]) {
    let out = run(args).expect("there is ip");
    assert!(out.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn ip_in(space: &str, args: &[&str]) {
    ip(&[&["-n", space], args].concat());
}
