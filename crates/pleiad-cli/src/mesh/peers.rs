//! `pleiad peers`: who is there.

use crate::args::Peers;
use crate::mesh::table::Table;
use crate::mesh::{answered, ask_all, everybody, plain, print, print_json, with_node};
use crate::problem::Problem;
use crate::units::show_time;

pub(crate) fn run(args: &Peers) -> Result<u8, Problem> {
    with_node(&args.reach, async |node| {
        let peers = everybody(node, &args.reach).await?;
        let answers = ask_all(node, &peers, &args.reach, async |system| system.info().await).await;
        let (infos, code) = answered(answers);
        let mut table = Table::new(&["NODE", "PROGRAM", ">PROCESS", ">AGE", ">PEERS", "ADDRESSES"]);
        for (_, info) in infos {
            if args.json {
                print_json(&info)?;
                continue;
            }
            table.push([
                plain(&info.name),
                plain(&info.program),
                info.process.to_string(),
                show_age(info.age_seconds),
                info.peers.to_string(),
                plain(&info.addresses.join(", ")),
            ]);
        }
        if !args.json {
            print(&table.text())?;
        }
        Ok(code)
    })
}

pub(super) fn show_age(seconds: f64) -> String {
    std::time::Duration::try_from_secs_f64(seconds).map_or_else(|_| "-".to_owned(), show_time)
}
