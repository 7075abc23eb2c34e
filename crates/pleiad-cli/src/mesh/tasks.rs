//! `pleiad tasks`: what goes on at the nodes.

use pleiad::net::{TaskList, TaskSummary};
use serde::Serialize;

use crate::args::Tasks;
use crate::mesh::peers::show_age;
use crate::mesh::table::Table;
use crate::mesh::{answered, ask_all, chosen, note, plain, print, print_json, with_node};
use crate::problem::Problem;

pub(crate) fn run(args: &Tasks) -> Result<u8, Problem> {
    with_node(&args.reach, async |node| {
        let peers = chosen(node, args.on.as_deref(), &args.reach).await?;
        let answers = ask_all(node, &peers, &args.reach, async |system| system.tasks().await).await;
        let (lists, code) = answered(answers);
        let mut table =
            Table::new(&["NODE", "TASK", "STATE", ">QUEUED", ">RECEIVED", ">AGE", "NAMES"]);
        for (peer, list) in lists {
            let name = plain(peer.name());
            for task in &list.tasks {
                if args.json {
                    print_json(&Line { node: peer.name(), task })?;
                } else {
                    table.push(row(&name, task));
                }
            }
            tell_missing(&name, &list);
        }
        if !args.json {
            print(&table.text())?;
        }
        Ok(code)
    })
}

#[derive(Serialize)]
struct Line<'a> {
    node: &'a str,
    #[serde(flatten)]
    task: &'a TaskSummary,
}

fn row(node: &str, task: &TaskSummary) -> Vec<String> {
    let unknown = || "-".to_owned();
    vec![
        node.to_owned(),
        format!("{}/{}", plain(&task.function), task.task),
        plain(&task.state),
        task.queued.to_string(),
        task.received.map_or_else(unknown, |received| received.to_string()),
        task.age_seconds.map_or_else(unknown, show_age),
        plain(&task.names.join(", ")),
    ]
}

fn tell_missing(node: &str, list: &TaskList) {
    if !list.is_watched {
        note(&format!(
            "of {node}, only tasks with names are known: it does not call pleiad::watch_tasks(true)"
        ));
    }
    if list.left_out > 0 {
        note(&format!("of {node}, {} more tasks are left out", list.left_out));
    }
}
