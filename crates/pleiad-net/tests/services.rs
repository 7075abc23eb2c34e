//! Services: functions of one node that others call, or start as tasks.

mod lab;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pleiad_net::{CallError, LocateError, RegisterError, Service, TaskService, WhenBusy};
use pleiad_task::{Exit, ExitReason, Mailbox, TaskRef, spawn};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use lab::{Lab, soon};

const DOUBLE: Service<u64, u64> = Service::new("double");
const WAIT: Service<(), ()> = Service::new("wait");
const SUM: TaskService<u64, u64, u64> = TaskService::new("sum");

async fn double(n: u64) -> u64 {
    2 * n
}

async fn sum(mut sum: u64, mut mailbox: Mailbox<u64>) -> u64 {
    while let Some(n) = mailbox.recv().await {
        sum += n;
    }
    sum
}

/// Says when it is dropped.
struct Guard(mpsc::UnboundedSender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A function that never returns, and what its calls say: when one begins, and when one is dropped.
fn endless() -> (impl Fn(()) -> Running, mpsc::UnboundedReceiver<()>, mpsc::UnboundedReceiver<()>) {
    let (begin, begun) = mpsc::unbounded_channel();
    let (end, ended) = mpsc::unbounded_channel();
    let function = move |()| -> Running {
        let (begin, guard) = (begin.clone(), Guard(end.clone()));
        Box::pin(async move {
            let _ = begin.send(());
            std::future::pending::<()>().await;
            drop(guard);
        })
    };
    (function, begun, ended)
}

// ---- calls ----

#[tokio::test]
async fn a_function_of_another_node_is_called() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let handle = shop.serve(DOUBLE, double).await.unwrap();
    let remote = soon(client.service(DOUBLE)).await.unwrap();
    assert_eq!(remote.to_string(), "double@shop");
    assert_eq!(soon(remote.call(21)).await.unwrap(), 42);
    assert!(remote.is_available());

    handle.stop();
    soon(handle.ended()).await;
    soon(remote.ended()).await;
    assert!(!remote.is_available());
    assert_eq!(
        soon(remote.call(21)).await,
        Err(CallError::Stopped("double@shop".to_owned())),
        "it is not there any more"
    );
}

#[tokio::test]
async fn a_function_of_this_node_is_called_in_the_same_way() {
    let lab = Lab::new();
    let shop = lab.node("shop").await;
    shop.serve(DOUBLE, double).await.unwrap();
    let here = soon(shop.service(DOUBLE)).await.unwrap();
    assert_eq!(soon(here.call(4)).await.unwrap(), 8);
}

#[tokio::test]
async fn it_is_waited_for_a_service_to_appear_on_a_certain_peer() {
    let lab = Lab::new();
    let (shop, other, client) =
        (lab.node("shop").await, lab.node("other").await, lab.node("client").await);
    other.serve(DOUBLE, double).await.unwrap();
    let peer = soon(client.peer("shop")).await.unwrap();
    let located = tokio::spawn(client.service(DOUBLE).on(&peer).into_future());
    let late = client.service(WAIT).timeout(Duration::from_millis(10)).await;
    assert!(matches!(late, Err(LocateError::TimedOut { .. })), "{late:?}");
    shop.serve(DOUBLE, async |n| n + 1).await.unwrap();
    let remote = soon(located).await.unwrap().unwrap();
    assert_eq!(remote.to_string(), "double@shop");
    assert_eq!(soon(remote.call(1)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_thousand_calls_at_once_all_get_their_own_result() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    shop.serve(DOUBLE, double).at_once(100).await.unwrap();
    let remote = soon(client.service(DOUBLE)).await.unwrap();
    let mut calls = JoinSet::new();
    for n in 0..1000 {
        let remote = remote.clone();
        calls.spawn(async move { (n, remote.call(n).await) });
    }
    for (n, result) in soon(calls.join_all()).await {
        assert_eq!(result, Ok(2 * n));
    }
}

#[tokio::test]
async fn a_panic_and_an_error_come_back_with_their_text() {
    const PANIC: Service<(), u64> = Service::new("panic");
    const FAIL: Service<String, u64> = Service::new("fail");
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    shop.serve(PANIC, async |()| panic!("no change left")).await.unwrap();
    shop.try_serve(FAIL, async |text: String| text.parse::<u64>()).await.unwrap();

    let remote = soon(client.service(PANIC)).await.unwrap();
    let error = soon(remote.call(())).await.unwrap_err();
    let CallError::Failed { task, failure } = &error else { panic!("{error:?}") };
    assert!(task.starts_with("panic/") && task.ends_with("@shop"), "{task}");
    assert_eq!(failure.message, "no change left");
    assert!(failure.location.as_deref().is_some_and(|place| place.contains("services.rs")));

    let remote = soon(client.service(FAIL)).await.unwrap();
    assert_eq!(soon(remote.call("7".to_owned())).await, Ok(7));
    let error = soon(remote.call("seven".to_owned())).await.unwrap_err().to_string();
    assert!(error.ends_with("@shop failed: invalid digit found in string"), "{error}");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_ended() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let (function, mut begun, mut ended) = endless();
    shop.serve(WAIT, function).await.unwrap();
    let remote = soon(client.service(WAIT)).await.unwrap();

    let call = tokio::spawn({
        let remote = remote.clone();
        async move { remote.call(()).await }
    });
    soon(begun.recv()).await.unwrap();
    call.abort();
    soon(ended.recv()).await.unwrap();

    let after = Duration::from_millis(50);
    let late = soon(remote.call(()).timeout(after)).await;
    assert_eq!(late, Err(CallError::TimedOut { service: "wait@shop".to_owned(), after }));
    soon(begun.recv()).await.unwrap();
    soon(ended.recv()).await.unwrap();

    let call = tokio::spawn({
        let remote = remote.clone();
        async move { remote.call(()).await }
    });
    soon(begun.recv()).await.unwrap();
    remote.close();
    assert_eq!(soon(call).await.unwrap(), Err(CallError::Closed("wait@shop".to_owned())));
    soon(ended.recv()).await.unwrap();
    assert!(begun.try_recv().is_err() && ended.try_recv().is_err(), "nothing else has run");
}

#[tokio::test]
async fn the_calls_of_a_client_that_closes_or_is_dropped_are_ended() {
    let lab = Lab::new();
    let shop = lab.node("shop").await;
    let (function, mut begun, mut ended) = endless();
    shop.serve(WAIT, function).await.unwrap();
    for closes in [true, false] {
        let client = lab.node("client").await;
        let remote = soon(client.service(WAIT)).await.unwrap();
        let call = tokio::spawn(async move { remote.call(()).await });
        soon(begun.recv()).await.unwrap();
        if closes {
            client.close().await;
        }
        drop(client);
        soon(ended.recv()).await.unwrap();
        assert!(matches!(soon(call).await.unwrap(), Err(CallError::Lost { .. })));
    }
}

#[tokio::test]
async fn the_loss_of_the_server_ends_calls_and_tasks() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let (function, mut begun, _ended) = endless();
    shop.serve(WAIT, function).await.unwrap();
    shop.serve_tasks(SUM, sum).await.unwrap();
    let remote = soon(client.service(WAIT)).await.unwrap();
    let sums = soon(client.service(SUM)).await.unwrap();
    let task = soon(sums.start(1)).await.unwrap();
    let call = tokio::spawn(async move { remote.call(()).await });
    soon(begun.recv()).await.unwrap();
    drop(shop);
    for error in [soon(call).await.unwrap().unwrap_err(), soon(task).await.unwrap_err()] {
        let CallError::Lost { peer, .. } = &error else { panic!("{error:?}") };
        assert!(peer.starts_with("shop"), "{peer}");
    }
    assert!(matches!(soon(sums.start(1)).await, Err(CallError::Lost { .. })));
}

// ---- limits ----

#[tokio::test]
async fn what_is_more_than_may_run_waits_or_is_refused() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    for when_busy in [WhenBusy::Wait, WhenBusy::Refuse] {
        let (begin, mut begun) = mpsc::unbounded_channel();
        let go = Arc::new(Semaphore::new(0));
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let function = {
            let (go, running, most) = (go.clone(), running.clone(), most.clone());
            move |n: u64| {
                let (begin, go) = (begin.clone(), go.clone());
                let (running, most) = (running.clone(), most.clone());
                async move {
                    most.fetch_max(1 + running.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                    let _ = begin.send(n);
                    go.acquire().await.expect("it is open").forget();
                    running.fetch_sub(1, Ordering::SeqCst);
                    n
                }
            }
        };
        let handle = shop.serve(DOUBLE, function).at_once(2).when_busy(when_busy).await.unwrap();
        let remote = soon(client.service(DOUBLE)).await.unwrap();
        let mut calls = JoinSet::new();
        for n in 0..2 {
            let remote = remote.clone();
            calls.spawn(async move { remote.call(n).await });
            soon(begun.recv()).await.unwrap();
        }
        match when_busy {
            WhenBusy::Refuse => {
                let busy = soon(remote.call(3)).await.unwrap_err();
                assert!(matches!(busy, CallError::Busy { running: 2, waiting: 0, .. }), "{busy:?}");
                let busy = soon(remote.start(3)).await.unwrap_err();
                assert!(matches!(busy, CallError::Busy { running: 2, .. }), "{busy:?}");
                go.add_permits(2);
            }
            _ => {
                for n in 2..6 {
                    let remote = remote.clone();
                    calls.spawn(async move { remote.call(n).await });
                }
                go.add_permits(6);
            }
        }
        let results = soon(calls.join_all()).await;
        let expected = if when_busy == WhenBusy::Wait { 6 } else { 2 };
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), expected);
        assert_eq!(most.load(Ordering::SeqCst), 2);
        handle.stop();
        soon(remote.ended()).await;
    }
}

#[tokio::test]
async fn a_call_that_waits_in_vain_is_told_when_the_service_stops() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let function = {
        let (begun, go) = (begun.clone(), go.clone());
        move |()| {
            let (begun, go) = (begun.clone(), go.clone());
            async move {
                begun.notify_one();
                go.notified().await;
            }
        }
    };
    let handle = shop.serve(WAIT, function).at_once(1).await.unwrap();
    let remote = soon(client.service(WAIT)).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        let remote = remote.clone();
        calls.spawn(async move { remote.call(()).await });
    }
    soon(begun.notified()).await;
    handle.stop();
    let first = soon(calls.join_next()).await.unwrap().unwrap();
    assert_eq!(first, Err(CallError::Stopped("wait@shop".to_owned())));
    go.notify_one();
    let second = soon(calls.join_next()).await.unwrap().unwrap();
    assert_eq!(second, Ok(()), "what runs goes on to its end");
    soon(handle.ended()).await;
    let again = shop.serve(WAIT, async |()| ()).await;
    assert!(again.is_ok(), "the name is free");
}

#[tokio::test]
async fn a_service_that_is_terminated_ends_what_runs() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let (function, mut begun, mut ended) = endless();
    let handle = shop.serve(WAIT, function).await.unwrap();
    let remote = soon(client.service(WAIT)).await.unwrap();
    let call = tokio::spawn(async move { remote.call(()).await });
    soon(begun.recv()).await.unwrap();
    handle.terminate();
    soon(ended.recv()).await.unwrap();
    let error = soon(call).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Terminated { .. }), "{error:?}");
    soon(handle.ended()).await;
}

// ---- names and types ----

#[tokio::test]
async fn other_types_are_an_error_when_it_is_located() {
    const ARGS: Service<String, u64> = Service::new("double");
    const RESULT: Service<u64, String> = Service::new("double");
    const MESSAGES: TaskService<u64, u64, u64> = TaskService::new("double");
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    shop.serve(DOUBLE, double).await.unwrap();
    for node in [&shop, &client] {
        let wrong = [
            soon(node.service(ARGS)).await.map(drop),
            soon(node.service(RESULT)).await.map(drop),
            soon(node.service(MESSAGES)).await.map(drop),
            soon(node.locate::<u64>("double")).await.map(drop),
            soon(node.channel::<u64>("double")).await.map(drop),
        ];
        for wrong in wrong {
            let Err(LocateError::WrongType { found, .. }) = &wrong else { panic!("{wrong:?}") };
            assert_eq!(found, "calls: u64 -> u64");
        }
    }
}

#[tokio::test]
async fn two_services_of_a_node_have_different_names() {
    let lab = Lab::new();
    let shop = lab.node("shop").await;
    let handle = shop.serve(DOUBLE, double).await.unwrap();
    let taken = shop.serve(DOUBLE, double).await.unwrap_err();
    assert!(matches!(taken, RegisterError::Taken { .. }), "{taken:?}");
    drop(handle);
    let remote = soon(shop.service(DOUBLE)).await.unwrap();
    assert_eq!(soon(remote.call(1)).await, Ok(2), "it goes on without its handle");
}

// ---- tasks ----

#[tokio::test]
async fn tasks_are_started_there_as_many_as_wanted() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    shop.serve_tasks(SUM, sum).await.unwrap();
    let remote = soon(client.service(SUM)).await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..20 {
        tasks.push(soon(remote.start(n)).await.unwrap());
    }
    assert!(tasks[0].to_string().ends_with("@shop"));
    for task in &tasks {
        task.send(100).unwrap();
    }
    for (task, n) in tasks.into_iter().zip(0..) {
        assert_eq!(soon(task).await, Ok(100 + n));
    }
}

/// Goal: who monitors a service hears of the end of every task that was started by it, and why.
#[tokio::test]
async fn a_monitor_of_a_service_hears_of_the_end_of_all_its_tasks() {
    const PICKY: TaskService<u64, u64, u64> = TaskService::new("picky");
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    shop.serve_tasks(PICKY, async |n: u64, mut mailbox: Mailbox<u64>| {
        assert!(n.is_multiple_of(2), "odd: {n}");
        mailbox.recv().await.unwrap_or(n)
    })
    .await
    .unwrap();
    let remote = soon(client.service(PICKY)).await.unwrap();
    let (heard, mut ends) = mpsc::unbounded_channel();
    let monitor = spawn(async move |mut mailbox: Mailbox<Exit>| {
        while let Some(exit) = mailbox.recv().await {
            let _ = heard.send(exit);
        }
    });
    remote.monitor(&monitor, |exit| exit);

    let even = soon(remote.start(0)).await.unwrap();
    let odd = soon(remote.start(1)).await.unwrap();
    let exit = soon(ends.recv()).await.unwrap();
    assert_eq!(exit.task, odd.identity());
    let ExitReason::Failed(failure) = &exit.reason else { panic!("{exit}") };
    assert_eq!(failure.message, "odd: 1");
    let error = soon(odd).await.unwrap_err();
    assert!(matches!(&error, CallError::Failed { failure, .. } if failure.message == "odd: 1"));

    let identity = even.identity();
    even.send(7).unwrap();
    assert_eq!(soon(even).await, Ok(7));
    let exit = soon(ends.recv()).await.unwrap();
    assert_eq!((exit.task, exit.reason), (identity, ExitReason::Returned));

    let last = soon(remote.start(2)).await.unwrap();
    last.kill();
    let exit = soon(ends.recv()).await.unwrap();
    assert_eq!(exit.reason, ExitReason::Terminated);
    assert!(matches!(soon(last).await, Err(CallError::Terminated { .. })));
    remote.close();
    soon(monitor).await.unwrap();
    assert!(ends.recv().await.is_none(), "each was told once, and nothing keeps the monitor open");
}

#[tokio::test]
async fn what_a_client_has_started_ends_with_its_handles_or_with_its_node() {
    enum How {
        Close,
        DropHandles,
        DropNode,
    }

    let lab = Lab::new();
    let shop = lab.node("shop").await;
    let (tell, mut started) = mpsc::unbounded_channel::<TaskRef<u64>>();
    shop.serve_tasks(SUM, move |_, mut mailbox: Mailbox<u64>| {
        let _ = tell.send(mailbox.me());
        // Its own reference keeps the mailbox open: it ends only when it is asked to.
        let me = mailbox.me();
        async move {
            while mailbox.recv().await.is_some() {}
            assert!(mailbox.is_stopping(), "it is asked politely");
            me.id().number()
        }
    })
    .await
    .unwrap();
    for how in [How::Close, How::DropHandles, How::DropNode] {
        let client = lab.node("client").await;
        let remote = soon(client.service(SUM)).await.unwrap();
        let dropped = soon(remote.start(1)).await.unwrap();
        let kept = soon(remote.start(2)).await.unwrap();
        let mut far = Vec::new();
        for _ in 0..2 {
            far.push(soon(started.recv()).await.unwrap());
        }
        drop(dropped);
        assert!(far.iter().all(TaskRef::is_alive), "a task goes on without its own handle");
        match how {
            How::Close => {
                remote.close();
                assert!(matches!(soon(kept).await, Err(CallError::Closed(_))));
                let closed = soon(remote.start(1)).await;
                assert!(matches!(closed, Err(CallError::Closed(_))), "{closed:?}");
            }
            How::DropHandles => {
                drop(remote);
                assert!(far.iter().all(TaskRef::is_alive), "one keeps the service");
                drop(kept);
            }
            How::DropNode => drop(client),
        }
        for task in far {
            assert_eq!(soon(task.ended()).await.reason, ExitReason::Returned);
        }
    }
}

#[tokio::test]
async fn a_task_without_messages_is_started_and_terminated() {
    let lab = Lab::new();
    let (shop, client) = (lab.node("shop").await, lab.node("client").await);
    let (function, mut begun, mut ended) = endless();
    shop.serve(WAIT, function).await.unwrap();
    shop.serve(DOUBLE, double).await.unwrap();
    let doubles = soon(client.service(DOUBLE)).await.unwrap();
    let task = soon(doubles.start(4)).await.unwrap();
    assert_eq!(soon(task).await, Ok(8));
    let remote = soon(client.service(WAIT)).await.unwrap();
    let task = soon(remote.start(())).await.unwrap();
    soon(begun.recv()).await.unwrap();
    task.terminate();
    soon(ended.recv()).await.unwrap();
    assert_eq!(soon(task.ended()).await.reason, ExitReason::Terminated);
    assert!(matches!(soon(task).await, Err(CallError::Terminated { .. })));
}
