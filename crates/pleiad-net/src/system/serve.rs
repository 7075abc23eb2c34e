//! The task that answers.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process;
use std::sync::{Arc, Weak};
use std::time::Instant;

use pleiad_task::{AnyTask, Mailbox, Reply, TaskBuilder, TaskId, tasks, tasks_are_watched};
use pleiad_types::limits::{SYSTEM_CALLS_MAX, SYSTEM_JSON_BYTES_MAX, SYSTEM_LINES_MAX};
use tokio::sync::Semaphore;

use crate::error::RegisterError;
use crate::mesh::Mesh;
use crate::peer::Peer;
use crate::registry::{Offer, is_reserved};
use crate::system::NAME;
use crate::system::info::{NameInfo, NodeInfo, PeerInfo, TaskList, TaskSummary};
use crate::system::json::{Json, JsonCall};
use crate::system::wire::{Refusal, SystemMessage};

/// Starts the task of a node. It ends when the node closes.
pub(crate) fn serve(mesh: &Arc<Mesh>) -> Result<(), RegisterError> {
    let desk = Desk {
        mesh: Arc::downgrade(mesh),
        started: Instant::now(),
        calls: Arc::new(Semaphore::new(SYSTEM_CALLS_MAX)),
    };
    let task = TaskBuilder::new().name(NAME).daemon(true).spawn(|mailbox| answer(mailbox, desk));
    mesh.register(NAME, &task, Offer::of_system::<SystemMessage>())
}

struct Desk {
    mesh: Weak<Mesh>,
    started: Instant,
    calls: Arc<Semaphore>,
}

async fn answer(mut mailbox: Mailbox<SystemMessage>, desk: Desk) {
    while let Some(message) = mailbox.recv().await {
        let Some(mesh) = desk.mesh.upgrade() else { return };
        match message {
            SystemMessage::Info(reply) => reply.send(desk.info(&mesh)),
            SystemMessage::Tasks(reply) => reply.send(task_list(&mesh)),
            SystemMessage::Names(reply) => reply.send(names(&mesh)),
            SystemMessage::Peers(reply) => reply.send(peers(&mesh)),
            SystemMessage::Send { name, json, reply } => reply.send(send(&mesh, &name, &json)),
            SystemMessage::Call { service, json, reply } => {
                desk.call(&mesh, &service, json, reply);
            }
        }
    }
}

impl Desk {
    fn info(&self, mesh: &Mesh) -> NodeInfo {
        let program = env::current_exe().ok();
        let program = program.as_deref().and_then(Path::file_name);
        let hello = mesh.hello();
        NodeInfo {
            name: hello.name.clone(),
            node: hello.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            program: program.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            process: process::id(),
            addresses: hello.addresses.clone(),
            age_seconds: self.started.elapsed().as_secs_f64(),
            peers: mesh.online().len() as u64,
        }
    }

    fn call(
        &self,
        mesh: &Mesh,
        service: &str,
        json: String,
        mut reply: Reply<Result<String, Refusal>>,
    ) {
        let call = match json_call(mesh, service, &json) {
            Ok(call) => call,
            Err(refusal) => return reply.send(Err(refusal)),
        };
        let Ok(permit) = self.calls.clone().try_acquire_owned() else {
            return reply.send(Err(Refusal::Busy));
        };
        mesh.spawn(async move {
            let result = tokio::select! {
                result = call(json) => result,
                () = reply.unwanted() => return,
            };
            reply.send(result);
            drop(permit);
        });
    }
}

fn task_list(mesh: &Mesh) -> TaskList {
    let mut known: BTreeMap<TaskId, (AnyTask, Vec<String>)> =
        tasks().into_iter().map(|task| (task.id(), (task, Vec::new()))).collect();
    for (name, task) in mesh.registry.list() {
        known.entry(task.id()).or_insert_with(|| (task, Vec::new())).1.push(name);
    }
    let is_of_users = |(task, names): &(AnyTask, Vec<String>)| {
        !is_reserved(task.identity().name()) && !names.iter().any(|name| is_reserved(name))
    };
    let all = known.into_values().filter(is_of_users).filter(|(task, _)| task.exit().is_none());
    let mut list = TaskList { tasks: Vec::new(), is_watched: tasks_are_watched(), left_out: 0 };
    for (task, names) in all {
        if list.tasks.len() < SYSTEM_LINES_MAX {
            list.tasks.push(TaskSummary::of(&task, names));
        } else {
            list.left_out += 1;
        }
    }
    list
}

fn names(mesh: &Mesh) -> Vec<NameInfo> {
    let described = mesh.registry.describe().into_iter().take(SYSTEM_LINES_MAX);
    described
        .map(|(name, task, takes, is_service)| NameInfo::new(name, &task, takes, is_service))
        .collect()
}

fn peers(mesh: &Mesh) -> Vec<PeerInfo> {
    let info = |(_, link)| {
        let peer = Peer::new(link);
        PeerInfo {
            name: peer.name().to_owned(),
            node: peer.node().to_string(),
            addresses: peer.addresses(),
            is_connected: peer.is_connected(),
        }
    };
    mesh.online().into_iter().take(SYSTEM_LINES_MAX).map(info).collect()
}

fn send(mesh: &Mesh, name: &str, json: &str) -> Result<(), Refusal> {
    match json_of(mesh, name, json)? {
        Json::Message(inlet) => inlet(json),
        Json::Call(_) => Err(Refusal::NoJson("it is a service: call it".to_owned())),
        Json::None(what) => Err(Refusal::NoJson(format!("it is {what}"))),
    }
}

fn json_call(mesh: &Mesh, service: &str, json: &str) -> Result<JsonCall, Refusal> {
    match json_of(mesh, service, json)? {
        Json::Call(call) => Ok(call),
        Json::Message(_) => Err(Refusal::NoJson("it is a task: send to it".to_owned())),
        Json::None(what) => Err(Refusal::NoJson(format!("it is {what}"))),
    }
}

/// How JSON comes to what has this name. Names of the system are for pleiad alone.
fn json_of(mesh: &Mesh, name: &str, json: &str) -> Result<Json, Refusal> {
    if json.len() > SYSTEM_JSON_BYTES_MAX {
        return Err(Refusal::TooLong(json.len()));
    }
    if is_reserved(name) {
        return Err(Refusal::NoSuchName);
    }
    mesh.registry.json(name).ok_or(Refusal::NoSuchName)
}
