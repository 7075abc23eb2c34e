//! A script is sent to another machine, run there, and what it prints comes back.
//!
//! Shows files between nodes, which go into one directory of the receiver and nowhere else; a service that
//! runs a program; and how one more question is asked of those who call it. The connection is encrypted,
//! and both ends of it are members of one cluster, so that a pass phrase may simply be sent.
//!
//! ```sh
//! cargo run --features net --example nodes_06_run_script -- server DIRECTORY    # type a pass phrase
//! cargo run --features net --example nodes_06_run_script -- client SCRIPT       # type the same
//! ```
//!
//! With a script of two lines, `pwd` and `ls /nowhere`, the client prints
//!
//! ```text
//! hello.sh is on server: 16 bytes, of which 16 were sent
//! /tmp/scripts
//! errors: ls: cannot access '/nowhere': No such file or directory
//! it has ended with exit status: 2
//! ```
//!
//! and with another pass phrase
//!
//! ```text
//! Error: run/5@server failed: this is not the pass phrase
//! ```

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pleiad::io::Pipeline;
use pleiad::{Error, Node, Service};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(30);

const RUN: Service<Run, Ended> = Service::new("run");

/// A script that was sent before.
#[derive(Serialize, Deserialize)]
struct Run {
    script: String,
    pass_phrase: String,
}

#[derive(Serialize, Deserialize)]
struct Ended {
    output: String,
    /// The end of its standard error.
    errors: String,
    status: String,
}

/// What the server knows.
#[derive(Clone)]
struct Host {
    directory: PathBuf,
    pass_phrase: String,
}

async fn run(host: Host, order: Run) -> pleiad::Result<Ended> {
    if order.pass_phrase != host.pass_phrase {
        return Err(Error::msg("this is not the pass phrase"));
    }
    // A plain name: what is called may be no other program of this machine.
    if Path::new(&order.script).file_name() != Some(order.script.as_ref()) {
        return Err(Error::msg(format!("{:?} is not the name of a script", order.script)));
    }
    let mut script = Command::new("sh");
    script.arg(&order.script).current_dir(&host.directory);
    let running = Pipeline::new(script).start().await?;
    // If the client waits no more, or is lost, this is dropped, and the script ends.
    let ended = running.communicate(tokio::io::empty()).timeout(SOON).await?;
    let [stage] = &ended.end.stages[..] else { return Err(Error::msg("there is no end")) };
    Ok(Ended {
        output: ended.text().into_owned(),
        errors: stage.stderr.to_string(),
        status: stage.status.to_string(),
    })
}

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.as_slice() {
        [role, directory] if role == "server" => server(PathBuf::from(directory)).await,
        [role, script] if role == "client" => client(script).await,
        _ => Err(Error::msg("usage: nodes_06_run_script server DIRECTORY | client SCRIPT")),
    }
}

async fn server(directory: PathBuf) -> pleiad::Result<()> {
    let host = Host { directory, pass_phrase: typed()? };
    // Without `files`, it takes none.
    let node = Node::builder().name("server").files(&host.directory).start().await?;
    node.try_serve(RUN, move |order| run(host.clone(), order)).await?;
    println!("scripts are run, until Ctrl-C");
    tokio::signal::ctrl_c().await?;
    node.close().await;
    Ok(())
}

async fn client(script: &str) -> pleiad::Result<()> {
    let pass_phrase = typed()?;
    let node = Node::builder().name("client").start().await?;
    let server = node.peer("server").await.ok_or_else(|| Error::msg("this node has closed"))?;
    // Under its name. It may have been there in another version.
    let sent = node.send_file(&server, script).overwrite(true).await?;
    println!(
        "{} is on {server}: {} bytes, of which {} were sent",
        sent.path, sent.bytes, sent.moved
    );

    let run = node.service(RUN).on(&server).timeout(SOON).await?;
    let ended = run.call(Run { script: sent.path, pass_phrase }).await?;
    print!("{}", ended.output);
    if !ended.errors.is_empty() {
        println!("errors: {}", ended.errors);
    }
    println!("it has ended with {}", ended.status);
    node.close().await;
    Ok(())
}

fn typed() -> pleiad::Result<String> {
    println!("pass phrase:");
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
