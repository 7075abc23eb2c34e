//! A chat room: a task knows who is there, and tells each what the others say.
//!
//! Shows a task that keeps references to others, and hears by monitors who has gone: whoever ends,
//! in whatever way, leaves the room.
//!
//! ```sh
//! cargo run --example tasks_08_chat_room
//! ```
//!
//! What each of them reads:
//!
//! ```text
//!    maia | you are alone here
//!    maia | atlas joins
//!   atlas | with you are: maia
//!   atlas | maia: Is anybody out there?
//!    maia | atlas: I am.
//!   atlas | merope joins
//!    maia | merope joins
//!  merope | with you are: atlas, maia
//!    maia | merope: I cannot see a thing.
//!   atlas | merope: I cannot see a thing.
//!  merope | maia leaves
//!   atlas | maia leaves
//!   atlas | merope is gone: was terminated
//! the room is empty, and 3 lines were said in it
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use pleiad::{Exit, ExitReason, Mailbox, TaskRef, spawn, try_spawn};
use tokio::time::sleep;

/// What the room takes.
enum ToRoom {
    Join(&'static str, TaskRef<ToUser>),
    Says(&'static str, String),
    Left(&'static str, ExitReason),
}

/// What a user takes.
enum ToUser {
    /// From the keyboard.
    Types(&'static str),
    /// From the room.
    Reads(String),
}

/// Gives how many lines were said.
async fn room(mut mailbox: Mailbox<ToRoom>) -> u32 {
    let mut members = BTreeMap::new();
    let mut lines = 0;
    while let Some(message) = mailbox.recv().await {
        match message {
            ToRoom::Join(name, user) => {
                tell(&members, name, &format!("{name} joins"));
                let others: Vec<&str> = members.keys().copied().collect();
                let welcome = match &others[..] {
                    [] => "you are alone here".to_owned(),
                    others => format!("with you are: {}", others.join(", ")),
                };
                // If it has ended meanwhile, that is told by the monitor.
                let _ = user.send(ToUser::Reads(welcome));
                let left = move |exit: Exit| ToRoom::Left(name, exit.reason);
                let _ = mailbox.monitor(&user, left);
                members.insert(name, user);
            }
            ToRoom::Says(name, text) => {
                lines += 1;
                tell(&members, name, &format!("{name}: {text}"));
            }
            ToRoom::Left(name, reason) => {
                members.remove(name);
                let how = match reason {
                    ExitReason::Returned => format!("{name} leaves"),
                    other => format!("{name} is gone: {other}"),
                };
                tell(&members, name, &how);
            }
        }
    }
    lines
}

/// To all but one. The room waits for nobody: whoever does not read misses what finds no place in
/// the mailbox.
fn tell(members: &BTreeMap<&str, TaskRef<ToUser>>, all_but: &str, line: &str) {
    for (_, user) in members.iter().filter(|(name, _)| **name != all_but) {
        let _ = user.send(ToUser::Reads(line.to_owned()));
    }
}

async fn user(
    mut mailbox: Mailbox<ToUser>,
    name: &'static str,
    room: TaskRef<ToRoom>,
) -> pleiad::Result<()> {
    room.deliver(ToRoom::Join(name, mailbox.me())).await?;
    while let Some(message) = mailbox.recv().await {
        match message {
            ToUser::Types("/leave") => break,
            ToUser::Types(text) => room.deliver(ToRoom::Says(name, text.to_owned())).await?,
            ToUser::Reads(line) => println!("{name:>8} | {line}"),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let room = spawn(room);

    let maia = enter("maia", &room).await;
    let atlas = enter("atlas", &room).await;
    types(&maia, "Is anybody out there?").await?;
    types(&atlas, "I am.").await?;
    let merope = enter("merope", &room).await;
    types(&merope, "I cannot see a thing.").await?;
    types(&maia, "/leave").await?;
    // Her line is cut.
    merope.kill();
    pause().await;
    types(&atlas, "/leave").await?;

    // When the last user has gone, nobody can send to the room any more.
    println!("the room is empty, and {} lines were said in it", room.await?);
    Ok(())
}

async fn enter(name: &'static str, room: &TaskRef<ToRoom>) -> TaskRef<ToUser> {
    let room = room.clone();
    let user = try_spawn(move |mailbox| user(mailbox, name, room));
    pause().await;
    user.detach()
}

async fn types(user: &TaskRef<ToUser>, text: &'static str) -> pleiad::Result<()> {
    user.deliver(ToUser::Types(text)).await?;
    pause().await;
    Ok(())
}

/// Typing takes its time.
async fn pause() {
    sleep(Duration::from_millis(100)).await;
}
