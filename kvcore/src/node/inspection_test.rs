//! A directory of a real node, whole and in every way damaged.

use std::fs;

use super::*;
use crate::api::{self, CallOptions, Node};
use crate::types::config::{Founding, NodeConfig};

/// A directory of a node that has stopped, with keys in all of its partitions.
fn stopped() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let founding = Founding { partitions: Some(4), ..Founding::default() };
    let data_dir = Some(dir.path().join("node"));
    let node = Node::start(NodeConfig { data_dir, founding, ..NodeConfig::default() });
    let node = node.wait().unwrap();
    let client = node.client().unwrap();
    for number in 0..100_u32 {
        let value = api::Bytes::from(vec![number as u8; 100]);
        let key = api::Bytes::from(format!("key {number}"));
        client.put(key, value, CallOptions::default()).wait().unwrap();
    }
    node.close().unwrap();
    dir
}

/// The contents of every file under a directory, by name.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let all = contents(dir).into_iter().map(|(path, _)| path);
    all.filter(|path| path.extension().is_some_and(|its| its == extension)).collect()
}

#[test]
fn a_sound_directory_is_told_in_full_and_left_as_it_is() {
    let dir = stopped();
    let dir = dir.path().join("node");
    let before = contents(&dir);
    for thorough in [false, true] {
        let inspection = inspect(&dir, thorough).unwrap();
        assert_eq!(inspection.findings, Vec::<String>::new());
        assert!(inspection.node.is_some() && inspection.cluster.is_some());
        assert!(inspection.log.stamped && inspection.log.batches > 100);
        let groups: Vec<&str> = inspection.replicas.iter().map(|r| r.group.as_str()).collect();
        assert_eq!(
            groups,
            ["partition 0", "partition 1", "partition 2", "partition 3", "metadata"]
        );
        let partitions = || inspection.replicas.iter().take(4);
        assert_eq!(partitions().map(|replica| replica.keys).sum::<u64>(), 100);
        assert_eq!(partitions().map(|replica| replica.revision).sum::<u64>(), 100);
        assert!(partitions().all(|replica| replica.term.is_some_and(|term| term > 0)));
        assert!(partitions().all(|replica| replica.applied == replica.last));
        assert!(partitions().all(|replica| replica.entries > 0 && replica.log_bytes > 0));
    }
    assert_eq!(contents(&dir), before);
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = Some(dir.path().join("node"));
    let node = Node::start(NodeConfig { data_dir, ..NodeConfig::default() }).wait().unwrap();
    let error = inspect(&dir.path().join("node"), true).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(error.message().contains("in use"), "{error}");
    node.close().unwrap();
}

#[test]
fn what_is_no_data_directory_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let absent = inspect(&dir.path().join("absent"), true).unwrap_err();
    assert_eq!(absent.kind(), Kind::InvalidArgument);
    assert_eq!(inspect(dir.path(), true).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn damage_anywhere_is_found_and_named() {
    let whole = stopped();
    let node = whole.path().join("node");
    let damaged = |damage: &dyn Fn(&Path)| {
        let copy = tempfile::tempdir().unwrap();
        for (path, bytes) in contents(&node) {
            let to = copy.path().join(path.strip_prefix(&node).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
        damage(copy.path());
        let inspection = inspect(copy.path(), true).unwrap();
        assert!(!inspection.findings.is_empty());
        inspection.findings.join("\n")
    };
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 0x10;
        fs::write(path, bytes).unwrap();
    };
    let segment = damaged(&|dir| flip(&files(dir, "log")[0], 520));
    assert!(segment.contains(".log") && segment.contains("offset=`"), "{segment}");
    let table = damaged(&|dir| flip(&files(&dir.join(STATE), "sst")[0], 10));
    assert!(table.contains(".sst"), "{table}");
    let missing = damaged(&|dir| fs::remove_file(&files(&dir.join(STATE), "sst")[0]).unwrap());
    assert!(missing.contains(".sst"), "{missing}");
    let identity = damaged(&|dir| flip(&dir.join("identity.json"), 0));
    assert!(identity.contains("identity"), "{identity}");
    let nobody = damaged(&|dir| fs::remove_file(dir.join("identity.json")).unwrap());
    assert!(nobody.contains("lost its identity"), "{nobody}");
    let no_log = damaged(&|dir| fs::remove_dir_all(dir.join(LOG)).unwrap());
    assert!(no_log.contains("lost a part") && no_log.contains("no log"), "{no_log}");
    let no_state = damaged(&|dir| fs::remove_dir_all(dir.join(STATE)).unwrap());
    assert!(no_state.contains("lost a part"), "{no_state}");
    let mark = damaged(&|dir| {
        let folder = dir.join(SNAPSHOTS).join("in-1-5");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("mark"), b"nonsense").unwrap();
    });
    assert!(mark.contains("mark"), "{mark}");
}

#[test]
fn a_log_that_has_forgotten_too_much_is_found() {
    let at = |index| Some(Position { term: 1, index });
    let tag = wal::Tag { group: GroupId::Metadata, replica: crate::types::ReplicaId(1) };
    let log = |purged| GroupLog {
        tag,
        purged,
        first: None,
        last: purged,
        entries: 0,
        live_bytes: 0,
        vote: None,
        committed: None,
    };
    continues(at(5), Some(&log(at(5)))).unwrap();
    continues(at(5), Some(&log(at(3)))).unwrap();
    continues(None, Some(&log(None))).unwrap();
    continues(None, None).unwrap();
    assert_eq!(continues(at(5), Some(&log(at(6)))).unwrap_err().kind(), Kind::Corruption);
    assert_eq!(continues(None, Some(&log(at(1)))).unwrap_err().kind(), Kind::Corruption);
    assert_eq!(continues(at(5), None).unwrap_err().kind(), Kind::Corruption);
}
