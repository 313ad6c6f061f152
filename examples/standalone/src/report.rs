//! What people and scripts get to see: results on stdout, everything else on stderr.

use std::io::Write;

#[cfg(feature = "rocksdb")]
use kvcore::api::Inspection;
use kvcore::api::{Error, MemberStatus, Result};

use crate::draw;

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
    draw::table(heading, rows)
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
    text.push_str(&draw::table(heading, rows));
    for finding in &inspection.findings {
        text.push_str(&format!("damage: {finding}\n"));
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
}
