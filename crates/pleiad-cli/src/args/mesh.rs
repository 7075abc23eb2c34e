//! What the commands take that talk to other nodes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pleiad::limits;
use pleiad::net::Invitation;

use crate::units;

/// How this command becomes a node, and whom it reaches.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whom to reach")]
pub(crate) struct Reach {
    /// Connect to the node there as well, on another machine for example; may be repeated
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) peer: Vec<String>,

    /// Join the cluster of this invitation first; the membership is kept for the next time
    #[arg(long, value_name = "INVITATION")]
    pub(crate) join: Option<Invitation>,

    /// Listen there, such as 0.0.0.0:0, so that nodes on the network are found; may be repeated
    /// [default: this machine only]
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub(crate) listen: Vec<String>,

    /// Where keys and memberships lie [default: PLEIAD_HOME, or the user's directory for such things]
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,

    /// How long others have to be reached, and then to answer
    #[arg(
        long,
        value_name = "TIME",
        value_parser = units::time,
        default_value = "5s",
        allow_hyphen_values = true
    )]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: what goes on at the node shop
  pleiad tasks --on shop

A program that calls pleiad::watch_tasks(true) lists all its tasks; else those with names are listed.")]
pub(crate) struct Tasks {
    /// Only those of this node: its name or number
    #[arg(long, value_name = "NODE")]
    pub(crate) on: Option<String>,

    /// Print a line of JSON for each task
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: who is there, on this machine and on the network
  pleiad peers --listen 0.0.0.0:0")]
pub(crate) struct Peers {
    /// Print a line of JSON for each node
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pleiad send notes '\"hello\"'                 a message that is a text
  pleiad send counter '{\"Add\": 2}'            a variant of an enum
  pleiad send stock '{\"Put\": {\"count\": 7}}'   one with fields

It is done when the message is in the task's mailbox. A message that has a reply or a reference in
it cannot be made of JSON.")]
pub(crate) struct Send {
    /// The name that a node has given to a task
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// The message; - reads it from standard input
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) json: String,

    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: call a service, and print its result
  pleiad call words '\"notes.txt\"'

`pleiad node` has a service echo, to try it with:
  pleiad call echo '\"hello\"'")]
pub(crate) struct Call {
    /// The name of the service
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,

    /// Its arguments; - reads them from standard input
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) json: String,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where something of a name is looked for.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Only at this node: its name or number [default: the first that has the name]
    #[arg(long, value_name = "NODE")]
    pub(crate) on: Option<String>,

    /// Wait for the name to appear, as long as --timeout says
    #[arg(long)]
    pub(crate) wait: bool,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: watch nodes come and go
  pleiad events --follow --json")]
pub(crate) struct Events {
    /// Go on until Ctrl-C, instead of ending after those that are there
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Print a line of JSON for each event
    ///
    /// Its keys are at (seconds since 1970), event (online or offline), name, node and addresses.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: invite one machine, which has an hour to come
  pleiad token --age 1h
and there, with the line that this prints:
  pleiad node --join pleiad://…

The invitation is on standard output, and is as secret as a password. It holds as long as this command
runs, which admits whoever has it.")]
pub(crate) struct Token {
    /// Listen there; the best of these addresses is in the invitation; may be repeated
    #[arg(long, value_name = "ADDRESS[:PORT]", default_value = "0.0.0.0")]
    pub(crate) listen: Vec<String>,

    /// Name this address in the invitation instead: behind a router, in a cloud
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) announce: Vec<String>,

    /// How long the invitation holds, such as 30m, 24h or 7days
    #[arg(long, value_name = "TIME", value_parser = units::time, default_value = "24h")]
    pub(crate) age: Duration,

    /// How many machines it lets in
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::INVITATION_USES_MAX)),
        default_value_t = 1
    )]
    pub(crate) uses: u32,

    /// Where keys and memberships lie [default: PLEIAD_HOME, or the user's directory for such things]
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: why is the node on the other machine not found?
  pleiad doctor --peer 192.168.1.7

Exit status: 0 somebody is there · 3 nobody is")]
pub(crate) struct Doctor {
    /// Print all as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: two nodes in two terminals, and a message from a third
  pleiad node --name first
  pleiad node --name second
  pleiad send notes '\"hello\"' --on first

It has a task that prints texts, by the name notes, one for pleiad bench --to, and a service echo,
which gives back a text. It prints who comes and goes, and which files arrive, until Ctrl-C.")]
pub(crate) struct Node {
    /// Its name [default: pleiad and the number of its process]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Tell others to dial this address, instead of where it listens
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) announce: Vec<String>,

    /// Let others put files into this directory, fetch and delete them; it is made if there is none
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,

    /// Print events, notes and files as lines of JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// End when standard input does: for the processes of bench
    #[arg(long, hide = true)]
    pub(crate) until_eof: bool,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  pleiad bench               between two processes on this machine
  pleiad bench --to shop     to a node that was started by `pleiad node --name shop`

Raw TCP, without encryption, is measured beside it in the same run: what counts is the ratio.")]
pub(crate) struct Bench {
    /// Measure to this node instead, which `pleiad node` has started
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Option<String>,

    /// How long each measurement takes
    #[arg(
        long,
        value_name = "TIME",
        value_parser = units::time,
        default_value = "1s",
        allow_hyphen_values = true
    )]
    pub(crate) each: Duration,

    /// Print a line of JSON for each measurement
    #[arg(long)]
    pub(crate) json: bool,

    /// Print no progress
    #[arg(long)]
    pub(crate) no_progress: bool,

    #[command(flatten)]
    pub(crate) reach: Reach,
}
