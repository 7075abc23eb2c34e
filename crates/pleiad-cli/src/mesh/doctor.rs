//! `pleiad doctor`: what is known of the network here, and why nobody is found.

use pleiad::net::{DiscoveryState, Facts, Finding, InterfaceFacts, Node, why_nobody_is_found};
use serde::Serialize;

use crate::args::Doctor;
use crate::mesh::{everybody, is_alone, plain, print, print_json, with_node};
use crate::problem::Problem;

pub(crate) fn run(args: &Doctor) -> Result<u8, Problem> {
    with_node(&args.reach, async |node| {
        let found = everybody(node, &args.reach).await;
        let facts = node.facts();
        let mut findings = why_nobody_is_found(&facts);
        if found.is_err() && is_alone(&args.reach) {
            findings.insert(0, nobody_here());
        }
        let peers = found.unwrap_or_default();
        let peers: Vec<String> = peers.iter().map(|peer| plain(peer.name())).collect();
        if args.json {
            let cluster = node.cluster().to_string();
            print_json(&Report { cluster, peers: &peers, facts: &facts, findings: &findings })?;
        } else {
            print(&text(node, &peers, &facts, &findings))?;
        }
        Ok(if peers.is_empty() { 3 } else { 0 })
    })
}

#[derive(Serialize)]
struct Report<'a> {
    cluster: String,
    peers: &'a [String],
    facts: &'a Facts,
    findings: &'a [Finding],
}

fn nobody_here() -> Finding {
    Finding {
        what: "No other node of this cluster runs on this machine.".to_owned(),
        advice: "Start one, by `pleiad node` in another terminal.".to_owned(),
    }
}

fn text(node: &Node, peers: &[String], facts: &Facts, findings: &[Finding]) -> String {
    let listeners: Vec<String> = facts.listeners.iter().map(ToString::to_string).collect();
    let discovery = match &facts.discovery {
        DiscoveryState::Off => "off".to_owned(),
        DiscoveryState::On => "on".to_owned(),
        DiscoveryState::Failing(why) => format!("fails: {why}"),
    };
    let mut lines = vec![
        format!("cluster     {}", node.cluster()),
        format!("peers       {}", or_none(&peers.join(", "))),
        format!("listens at  {}", or_none(&listeners.join(", "))),
        format!("discovery   {discovery}"),
    ];
    lines.extend(facts.interfaces.iter().map(|known| format!("interface   {}", interface(known))));
    if facts.other_clusters > 0 {
        lines.push(format!("heard of    {} other clusters", facts.other_clusters));
    }
    for Finding { what, advice } in findings {
        lines.push(format!("\n- {}\n  {}", plain(what), plain(advice)));
    }
    lines.join("\n") + "\n"
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn interface(known: &InterfaceFacts) -> String {
    let addresses: Vec<String> = known.addresses.iter().map(ToString::to_string).collect();
    let kind = match (known.is_up, known.is_loopback, known.is_multicast) {
        (false, ..) => "down",
        (_, true, _) => "loopback",
        (.., false) => "no multicast",
        _ => "up",
    };
    format!("{} ({kind}) {}", known.name, addresses.join(", "))
}
