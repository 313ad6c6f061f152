//! A replica whose part of the disk is damaged never serves what is wrong, never leads again, and is rebuilt
//! from its peers under a new id, while the process lives on and nothing acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::{Cluster, Load, Plan, Ran, Seat, Stage, connect, distkv, eventually, patient};

const PATIENCE: Duration = Duration::from_secs(90);
const PARTITIONS: usize = 8;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Little memory, so that tables are written out and merged all the time.
const FLAGS: [&str; 2] = ["--partitions=8", "--memory-limit=16MiB"];

/// Files with that extension, largest first.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        all.filter(|path| path.extension().is_some_and(|its| its == extension)).collect();
    files.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    files
}

/// Flips a bit in each page of a part of a file.
fn damage(path: &Path, part: Range<u64>) {
    const PAGE: u64 = 4096;
    let file = File::options().read(true).write(true).open(path).unwrap();
    for page in part.start / PAGE..part.end / PAGE {
        let (at, mut byte) = (page * PAGE + 77, [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    }
}

/// Damages the middle of every table that holds more than a few records.
fn damage_tables(seat: &Seat) {
    for table in files(&seat.data_dir.join("state"), "sst") {
        let bytes = table.metadata().unwrap().len();
        if bytes > 64 * KIB {
            damage(&table, bytes / 4..bytes * 3 / 4);
        }
    }
}

/// What `distkv verify` says of the directory there.
fn verify(seat: &Seat) -> Ran {
    distkv(&["verify", &seat.data_dir.display().to_string()])
}

/// How many replicas are others than before. The node must have one of each group, and no second.
#[track_caller]
fn replaced(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> usize {
    assert!(before.keys().eq(after.keys()), "before: {before:?}, after: {after:?}");
    assert_eq!(after.len(), PARTITIONS + 1);
    before.iter().filter(|(group, replica)| after[*group] != **replica).count()
}

#[track_caller]
fn wait_until_rebuilt(seat: &Seat) {
    eventually(PATIENCE, &format!("{} to be rebuilt", seat.label), || {
        seat.whole()?;
        let damaged = seat.status()?.damaged;
        if damaged == 0 { Ok(()) } else { Err(format!("{damaged} replicas are damaged")) }
    });
}

fn load(endpoints: &str, prefix: &str, value_bytes: u64) -> Load {
    let value_bytes = value_bytes as usize;
    let plan = Plan { writers: 16, value_bytes, ..Plan::endless(prefix) };
    Load::start(patient(endpoints), plan)
}

#[test]
fn damage_that_a_read_comes_upon_costs_a_replica_and_no_answer() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &FLAGS);
    let written = load(&cluster.endpoints(), "read", 8 * KIB);
    written.wait_for_more(2000, PATIENCE);
    let ledger = written.stop();
    cluster.seats[2].ask_to_end("TERM");
    let before = cluster.seats[2].replicas();
    damage_tables(&cluster.seats[2]);
    let found = verify(&cluster.seats[2]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout.contains(".sst"), "it names the file: {found:?}");

    // It leads again, as nobody knows yet; no answer may come from what is damaged.
    cluster.seats[2].start();
    eventually(PATIENCE, "it to lead", || match cluster.seats[2].status()?.leaders {
        0 => Err("it does not".to_owned()),
        _ => Ok(()),
    });
    ledger.check(&patient(&cluster.seats[2].address)).unwrap();
    wait_until_rebuilt(&cluster.seats[2]);
    ledger.check(&patient(&cluster.endpoints())).unwrap();
    assert!(cluster.seats[2].is_running(), "the process lives on");
    cluster.seats[2].ask_to_end("TERM");
    let replaced = replaced(&before, &cluster.seats[2].replicas());
    println!("{replaced} of {PARTITIONS} replicas were rebuilt");
    assert!(replaced > 0);
}

#[test]
fn damage_that_merging_files_comes_upon_is_cleared_away_and_rebuilt_in_the_process() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &FLAGS);
    let load = load(&cluster.endpoints(), "merged", 8 * KIB);
    load.wait_for_more(1000, PATIENCE);
    cluster.seats[2].ask_to_end("TERM");
    let before = cluster.seats[2].replicas();
    damage_tables(&cluster.seats[2]);
    assert_eq!(verify(&cluster.seats[2]).code, Some(1));
    cluster.seats[2].start();
    // Enough of new tables that the old ones are merged with them.
    load.wait_for_more(4000, PATIENCE);
    wait_until_rebuilt(&cluster.seats[2]);
    let process = cluster.seats[2].pid();
    load.wait_for_more(1000, PATIENCE);
    // Now it is needed for a majority, and must have everything.
    cluster.seats[0].kill();
    load.wait_for_more(500, PATIENCE);
    let ledger = load.stop();
    ledger.check(&patient(&cluster.live_endpoints())).unwrap();
    assert_eq!(cluster.seats[2].pid(), process, "the process lives on");
    assert!(cluster.seats[2].is_running());
    cluster.seats[2].ask_to_end("TERM");
    let after = verify(&cluster.seats[2]);
    assert_eq!(after.code, Some(0), "{after:?}");
    let replaced = replaced(&before, &cluster.seats[2].replicas());
    println!("{replaced} of {PARTITIONS} replicas were rebuilt");
    assert!(replaced > 0);
}

#[test]
fn damage_in_the_log_of_a_running_leader_is_never_passed_on() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &FLAGS);
    let before = cluster.replicas_of(0);
    let load = load(&cluster.endpoints(), "log", 64 * KIB);
    cluster.seats[2].kill();
    // This is what the leaders have to send from their logs: more than they keep in memory.
    load.wait_for_more(1500, PATIENCE);
    for segment in files(&cluster.seats[0].data_dir.join("log"), "log") {
        damage(&segment, 2 * MIB..10 * MIB);
    }
    cluster.seats[2].start();
    wait_until_rebuilt(&cluster.seats[0]);
    wait_until_rebuilt(&cluster.seats[2]);
    load.wait_for_more(500, PATIENCE);
    let ledger = load.stop();
    for seat in &cluster.seats {
        ledger.check(&patient(&seat.address)).unwrap();
    }
    // What the third has it has from sound replicas.
    cluster.seats[0].kill();
    let replaced = replaced(&before, &cluster.seats[0].replicas());
    println!("{replaced} of {PARTITIONS} replicas were rebuilt");
    assert!(replaced > 0);
    eventually(PATIENCE, "the two others to have everything", || {
        ledger.check(&connect(&cluster.live_endpoints()).map_err(|error| error.to_string())?)
    });
    cluster.seats[2].ask_to_end("TERM");
    let after = verify(&cluster.seats[2]);
    assert_eq!(after.code, Some(0), "{after:?}");
}

#[test]
fn a_wiped_node_is_rebuilt_while_the_load_goes_on() {
    let stage = Stage::new();
    let mut cluster = Cluster::of(&stage, 3, &FLAGS);
    let load = load(&cluster.endpoints(), "wiped", 8 * KIB);
    load.wait_for_more(1000, PATIENCE);
    cluster.seats[2].ask_to_end("TERM");
    let before = cluster.seats[2].replicas();
    fs::remove_dir_all(&cluster.seats[2].data_dir).unwrap();
    cluster.seats[2].start();
    load.wait_for_more(500, PATIENCE);
    wait_until_rebuilt(&cluster.seats[2]);
    cluster.wait_settled();
    // Now it is needed for a majority, and must have everything.
    cluster.seats[0].kill();
    load.wait_for_more(500, PATIENCE);
    let ledger = load.stop();
    ledger.check(&patient(&cluster.live_endpoints())).unwrap();
    cluster.seats[2].ask_to_end("TERM");
    let after = cluster.seats[2].replicas();
    assert_eq!(replaced(&before, &after), PARTITIONS + 1, "all ids are new: {after:?}");

    // What was noted of the old ones may come back, as after a power failure: it says nothing of the new.
    let notes = cluster.seats[2].data_dir.join("damaged");
    fs::create_dir_all(&notes).unwrap();
    for (group, replica) in &before {
        if let Some(partition) = group.strip_prefix("partition ") {
            File::create(notes.join(format!("{partition}-{replica}"))).unwrap();
        }
    }
    assert_eq!(fs::read_dir(&notes).unwrap().count(), PARTITIONS);
    cluster.seats[2].start();
    wait_until_rebuilt(&cluster.seats[2]);
    ledger.check(&patient(&cluster.endpoints())).unwrap();
    cluster.seats[2].ask_to_end("TERM");
    assert_eq!(cluster.seats[2].replicas(), after, "none is replaced once more");
    assert_eq!(fs::read_dir(&notes).unwrap().count(), 0);
}

#[test]
fn a_part_of_the_disk_that_cannot_be_read_costs_a_replica_and_no_answer() {
    let stage = Stage::new();
    let seats = vec![stage.seat("sound-1"), stage.seat("sound-2"), stage.seat("broken").on_power()];
    let mut cluster = Cluster::found(seats, &FLAGS);
    let written = load(&cluster.endpoints(), "sector", 8 * KIB);
    written.wait_for_more(2000, PATIENCE);
    let ledger = written.stop();
    let before = cluster.replicas_of(2);
    let tables = files(&cluster.seats[2].data_dir.join("state"), "sst");
    let name = tables[0].file_name().unwrap().to_str().unwrap().to_owned();
    // All but its end, where the file says of itself what it is: it can be opened.
    let megabytes = tables[0].metadata().unwrap().len() / 1_000_000;
    assert!(megabytes >= 4, "too little to tell");
    let rules = (0..megabytes * 3 / 4).map(|number| format!("eio read */{name}@{number:06}*"));
    let rules: Vec<String> = rules.collect();
    cluster.seats[2].power().rule(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    // Its replicas are started again at first, in case it was for a moment only.
    eventually(PATIENCE, "what cannot be read to be given up", || {
        ledger.check(&patient(&cluster.seats[2].address))?;
        let met = cluster.seats[2].power().met();
        if tables[0].exists() {
            Err(format!("it is still there, refused {met} times"))
        } else {
            Ok(())
        }
    });
    assert!(cluster.seats[2].power().met() > 0, "it was refused");
    wait_until_rebuilt(&cluster.seats[2]);
    assert!(cluster.seats[2].is_running(), "the process lives on");
    // Now it is needed for a majority, and must have everything.
    cluster.seats[0].kill();
    ledger.check(&patient(&cluster.live_endpoints())).unwrap();
    cluster.seats[2].ask_to_end("TERM");
    let replaced = replaced(&before, &cluster.seats[2].replicas());
    println!("{replaced} of {PARTITIONS} replicas were rebuilt");
    assert!(replaced > 0);
}
