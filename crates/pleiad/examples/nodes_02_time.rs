//! What time is it there? Asked in two ways: a task answers messages, a service is called.
//!
//! Shows that a question to a task of another node is the same as to one of this ([`ask`]), with its
//! [`Reply`] in the message; and a [`Service`], which is a function that others may call: each call is a
//! task of its own. Both have a time-out, and both end at once when the other node is lost.
//!
//! ```sh
//! cargo run --features net --example nodes_02_time -- server
//! cargo run --features net --example nodes_02_time -- client
//! ```
//!
//! The client prints
//!
//! ```text
//! asked:  it is 13:48:05 UTC, says clock/3@server, in 322.4µs
//! called: it is 13:48:05 UTC, says time@server, in 453.1µs
//! too slow: time@server gave no result within 100ms
//! no time: time/7@server failed: there is no such time
//! ```
//!
//! [`ask`]: TaskRef::ask

use std::env;
use std::time::{Duration, Instant, SystemTime};

use pleiad::{Error, Mailbox, Node, Reply, Service, TaskRef, spawn};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(5);

/// What the task takes.
#[derive(Serialize, Deserialize)]
enum Question {
    Time(Reply<SystemTime>),
}

async fn clock(mut mailbox: Mailbox<Question>) {
    while let Some(Question::Time(reply)) = mailbox.recv().await {
        reply.send(SystemTime::now());
    }
}

/// The service: its name, what it is called with, and what it gives. Both programs have this constant.
const TIME: Service<When, String> = Service::new("time");

#[derive(Serialize, Deserialize)]
enum When {
    Now,
    /// When so much time has passed.
    After(Duration),
    Never,
}

/// Whoever called and waits no more, has this dropped where it waits.
async fn time(when: When) -> pleiad::Result<String> {
    let time = match when {
        When::Now => SystemTime::now(),
        When::After(pause) => {
            sleep(pause).await;
            SystemTime::now()
        }
        When::Never => return Err(Error::msg("there is no such time")),
    };
    Ok(utc(time))
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    match env::args().nth(1).as_deref() {
        Some("server") => server().await,
        Some("client") => client().await,
        _ => Err(Error::msg("usage: nodes_02_time server | client")),
    }
}

async fn server() -> pleiad::Result<()> {
    let node = Node::builder().name("server").start().await?;
    let clock = spawn(clock);
    node.register("clock", &clock)?;
    node.try_serve(TIME, time).await?;
    println!("{clock} and {} tell the time, until Ctrl-C", TIME.name());
    tokio::signal::ctrl_c().await?;
    node.close().await;
    Ok(())
}

async fn client() -> pleiad::Result<()> {
    let node = Node::builder().name("client").start().await?;

    let clock: TaskRef<Question> = node.locate("clock").timeout(SOON).await?;
    let begin = Instant::now();
    let time = clock.ask(Question::Time).timeout(SOON).await?;
    println!("asked:  it is {}, says {clock}, in {:?}", utc(time), begin.elapsed());

    let service = node.service(TIME).timeout(SOON).await?;
    let begin = Instant::now();
    let time = service.call(When::Now).timeout(SOON).await?;
    println!("called: it is {time}, says {service}, in {:?}", begin.elapsed());

    let late = When::After(Duration::from_secs(3600));
    if let Err(error) = service.call(late).timeout(Duration::from_millis(100)).await {
        println!("too slow: {error}");
    }
    if let Err(error) = service.call(When::Never).timeout(SOON).await {
        println!("no time: {error}");
    }
    node.close().await;
    Ok(())
}

fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02} UTC")
}
