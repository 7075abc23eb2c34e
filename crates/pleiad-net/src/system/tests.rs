//! Calls of services by JSON, as a service has to offer them.

use std::sync::Arc;
use std::time::Duration;

use pleiad_task::{Mailbox, spawn};
use pleiad_types::limits::SYSTEM_CALLS_MAX;
use tokio::sync::{Notify, Semaphore};

use crate::node::Node;
use crate::registry::Offer;
use crate::system::json::{Json, JsonCall, read};
use crate::system::wire::Refusal;
use crate::system::{System, SystemError};

#[tokio::test]
async fn a_service_is_called_with_json_and_answers_with_json() {
    let call: JsonCall = Arc::new(|json| {
        Box::pin(async move {
            match read::<u32>(&json).map_err(Refusal::Json)? {
                0 => Err(Refusal::Failed("not zero".to_owned())),
                number => Ok((2 * number).to_string()),
            }
        })
    });
    let (_home, _nodes, system) = called("double", call).await;
    assert_eq!(system.call_json("double", "21").await.as_deref(), Ok("42"));
    let error = system.call_json("double", "0").await.expect_err("it fails");
    assert_eq!(error.to_string(), "\"double\" on shop has failed: not zero");
    let error = system.call_json("double", "x").await.expect_err("it is no number");
    assert!(matches!(error, SystemError::Json { .. }), "{error}");
    let error = system.send_json("double", "1").await.expect_err("it is a service");
    assert!(error.to_string().ends_with("it is a service: call it"), "{error}");
    let names = system.names().await.expect("it answers");
    assert_eq!(names.iter().map(|name| name.is_service).collect::<Vec<_>>(), [true]);
}

#[tokio::test]
async fn calls_are_bounded_and_end_when_nobody_wants_them() {
    let (running, dropped) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let call: JsonCall = Arc::new({
        let (running, dropped) = (running.clone(), dropped.clone());
        move |_| {
            let (running, told) = (running.clone(), NotifyOnDrop(dropped.clone()));
            Box::pin(async move {
                running.add_permits(1);
                std::future::pending::<()>().await;
                drop(told);
                Ok(String::new())
            })
        }
    });
    let (_home, _nodes, system) = called("slow", call).await;
    let calls: Vec<_> = (0..SYSTEM_CALLS_MAX)
        .map(|_| {
            let system = system.clone();
            tokio::spawn(async move { system.call_json("slow", "0").await })
        })
        .collect();
    let all = u32::try_from(SYSTEM_CALLS_MAX).expect("it is small");
    drop(running.acquire_many(all).await.expect("it is open"));
    let error = system.call_json("slow", "0").await.expect_err("there are too many");
    assert!(matches!(error, SystemError::Busy { .. }), "{error}");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::time::timeout(Duration::from_secs(10), dropped.notified()).await.expect("it is dropped");
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A node that has this service, and one that asks it.
async fn called(name: &str, call: JsonCall) -> (tempfile::TempDir, [Node; 2], System) {
    let home = tempfile::tempdir().expect("a directory");
    let node = async |name: &str| {
        let builder = Node::builder().name(name).home(home.path());
        builder.start().await.expect("a node starts")
    };
    let (shop, client) = (node("shop").await, node("client").await);
    let task = spawn(async |mut mailbox: Mailbox<u8>| while mailbox.recv().await.is_some() {});
    let offer = Offer { json: Json::Call(call), ..Offer::of_task(&task) };
    shop.mesh().register(name, &task, offer).expect("it is free");
    let peer = client.peer("shop").await.expect("it does not close");
    let system = client.system(&peer).await.expect("every node has it");
    (home, [shop, client], system)
}
