//! What people and scripts get to see: results on stdout, everything else on stderr.

use std::io::Write;

#[cfg(feature = "rocksdb")]
use kvcore::api::Inspection;
use kvcore::api::{Error, MemberStatus, Result, Status};

/// Writes a result to stdout, now.
///
/// # Errors
/// `Internal` if stdout takes no more, `StorageFull` if it is a file on a full disk.
pub fn print(result: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(result)?;
    stdout.flush()?;
    Ok(())
}

/// Writes one line to stderr.
pub fn say(line: &str) {
    // There is nowhere left to complain to if stderr is closed; the exit code says the rest.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// As JSON for programs.
///
/// # Errors
/// `Internal`; a defect.
pub fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Error::internal("a report cannot be written as json").because(error))
}

/// A node and its cluster, one fact a line.
pub fn status(status: &Status) -> String {
    let facts = [
        ("node", status.node.clone()),
        ("address", status.address.clone()),
        ("version", status.version.clone()),
        ("cluster", status.cluster.clone()),
        ("epoch", status.epoch.to_string()),
        ("partitions", status.partitions.to_string()),
        ("replication factor", status.replication_factor.to_string()),
        (
            "data",
            match (status.durable, status.full) {
                (true, false) => "on disk",
                (true, true) => "on disk, which is full: no writes are taken here",
                (false, _) => "in memory",
            }
            .to_owned(),
        ),
        ("replicas here", format!("{} ({} leading)", status.replicas, status.leaders)),
        ("lagging here", status.lagging.to_string()),
        ("damaged here", status.damaged.to_string()),
        ("leaderless", status.leaderless.to_string()),
        ("under-replicated", status.under_replicated.to_string()),
        ("moves under way", status.moves.to_string()),
    ];
    facts.iter().map(|(name, fact)| format!("{name:<20}{fact}\n")).collect()
}

/// The members, one a line under a heading.
pub fn members(members: &[MemberStatus]) -> String {
    let heading = ["NODE", "ADDRESS", "STATE", "WEIGHT", "ZONE", "REPLICAS", "LEADERS"];
    let rows = members.iter().map(|member| {
        [
            member.id.clone(),
            member.address.clone(),
            member.state.clone(),
            member.weight.to_string(),
            member.zone.clone().unwrap_or_else(|| "-".into()),
            member.replicas.to_string(),
            member.leaders.to_string(),
        ]
    });
    table(std::iter::once(heading.map(String::from)).chain(rows).collect())
}

/// What is in a directory: the files, then the replicas, one a line under a heading.
#[cfg(feature = "rocksdb")]
pub fn inspection(inspection: &Inspection) -> String {
    let (log, state) = (&inspection.log, &inspection.state);
    let facts = [
        ("node", inspection.node.clone().unwrap_or_else(|| "-".into())),
        ("cluster", inspection.cluster.clone().unwrap_or_else(|| "-".into())),
        ("log", format!("{} segments, {} bytes", log.segments, log.bytes)),
        ("spare segments", format!("{}, {} bytes", log.spares, log.spare_bytes)),
        ("state", format!("{} files, {} bytes", state.files, state.bytes)),
        ("damaged replicas", inspection.damaged.len().to_string()),
        ("interrupted snapshots", inspection.interrupted.len().to_string()),
        ("findings", inspection.findings.len().to_string()),
    ];
    let mut text: String = facts.iter().map(|(name, fact)| format!("{name:<24}{fact}\n")).collect();
    let heading = [
        "GROUP",
        "REPLICA",
        "TERM",
        "PURGED",
        "FIRST",
        "LAST",
        "COMMITTED",
        "APPLIED",
        "ENTRIES",
        "LOG BYTES",
        "KEYS",
        "BYTES",
        "REVISION",
    ];
    let maybe = |number: Option<u64>| number.map_or_else(|| "-".into(), |n| n.to_string());
    let rows = inspection.replicas.iter().map(|replica| {
        [
            replica.group.clone(),
            replica.replica.to_string(),
            maybe(replica.term),
            maybe(replica.purged),
            maybe(replica.first),
            maybe(replica.last),
            maybe(replica.committed),
            maybe(replica.applied),
            replica.entries.to_string(),
            replica.log_bytes.to_string(),
            replica.keys.to_string(),
            replica.bytes.to_string(),
            replica.revision.to_string(),
        ]
    });
    text.push('\n');
    text.push_str(&table(std::iter::once(heading.map(String::from)).chain(rows).collect()));
    for finding in &inspection.findings {
        text.push_str(&format!("damage: {finding}\n"));
    }
    text
}

fn table<const N: usize>(rows: Vec<[String; N]>) -> String {
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_in_columns() {
        let one = MemberStatus {
            id: "00abcdef01234567".into(),
            address: "127.0.0.1:7400".into(),
            state: "up".into(),
            weight: 1.0,
            zone: None,
            replicas: 64,
            leaders: 21,
        };
        let other = MemberStatus {
            address: "a-long-name.example:7400".into(),
            zone: Some("rack-1".into()),
            ..one.clone()
        };
        assert_eq!(
            members(&[one, other]),
            "NODE              ADDRESS                   STATE  WEIGHT  ZONE    REPLICAS  LEADERS\n\
             00abcdef01234567  127.0.0.1:7400            up     1       -       64        21\n\
             00abcdef01234567  a-long-name.example:7400  up     1       rack-1  64        21\n"
        );
    }

    #[test]
    fn a_status_is_told_in_lines_and_read_back_from_json() {
        let known = Status {
            node: "7".into(),
            replicas: 3,
            leaders: 1,
            durable: true,
            ..Status::default()
        };
        let text = status(&known);
        assert!(text.contains("replicas here       3 (1 leading)\n"), "{text}");
        assert!(text.contains("data                on disk\n"), "{text}");
        let read: Status = serde_json::from_str(&json(&known).unwrap()).unwrap();
        assert_eq!(read, known);
    }
}
