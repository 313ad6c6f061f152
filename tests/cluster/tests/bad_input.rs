//! What makes no sense is refused with the right kind, by name and with the limit, and leaves nothing
//! behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::TcpListener;

use cluster::{Cluster, Exit, Seat, Stage, distkv, distkv_with, unused_address};

const KEY_BYTES: usize = 16 * 1024;
const VALUE_BYTES: usize = 8 * 1024 * 1024;

#[test]
fn keys_and_values_have_limits() {
    let stage = Stage::new();
    let cluster = Cluster::of(&stage, 1, &["--partitions=4"]);
    let endpoints = format!("--endpoints={}", cluster.seats[0].address);
    let long = "k".repeat(KEY_BYTES + 1);
    let at_limit = "k".repeat(KEY_BYTES);

    for verb in ["put", "get", "delete"] {
        let call = |key: &str| match verb {
            "put" => distkv(&[verb, key, "value", &endpoints]),
            _ => distkv(&[verb, key, &endpoints]),
        };
        call("").assert_refused("InvalidArgument", &["key is empty", "`16384`"]);
        call(&long).assert_refused("TooLarge", &["key", "`16385`", "`16384`"]);
        let allowed = call(&at_limit);
        assert!(!allowed.stderr.contains("error:"), "a key at the limit: {:?}", allowed.stderr);
    }

    let too_much = distkv_with(&["put", "k", "-", &endpoints], vec![b'v'; VALUE_BYTES + 1]);
    too_much.assert_refused("TooLarge", &["value", "`8388609`", "`8388608`"]);
    let far_too_much = distkv_with(&["put", "k", "-", &endpoints], vec![b'v'; 4 * VALUE_BYTES]);
    far_too_much.assert_refused("TooLarge", &["value", "`8388608`"]);
    assert_eq!(distkv(&["get", "k", &endpoints]).code, Some(1), "nothing of it was written");

    let most = vec![b'v'; VALUE_BYTES];
    distkv_with(&["put", "k", "-", &endpoints, "--timeout=20"], most.clone()).ok();
    let got = distkv(&["get", "k", &endpoints, "--timeout=20"]).ok();
    assert_eq!(got.len(), VALUE_BYTES + 1, "a value at the limit, and a newline");
    assert!(got.as_bytes().starts_with(&most));

    distkv(&["put", "empty", "", &endpoints]).ok();
    assert_eq!(distkv(&["get", "empty", &endpoints]).ok(), "\n", "an empty value is a value");
}

#[test]
fn a_command_line_without_sense_is_a_usage_error() {
    for line in [
        vec![],
        vec!["fly"],
        vec!["get"],
        vec!["put", "key"],
        vec!["get", "key", "--timeout", "soon"],
        vec!["get", "key", "--timeout", "0"],
        vec!["serve", "--partitions", "many"],
        vec!["serve", "--no-such-flag"],
        vec!["serve", "--memory-limit", "plenty"],
        vec!["verify"],
        vec!["inspect"],
    ] {
        let ran = distkv(&line);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{line:?}: {ran:?}");
        assert!(!ran.stderr.is_empty(), "{line:?} says nothing");
    }
}

#[test]
fn endpoints_that_do_not_parse_or_answer_are_named() {
    distkv(&["get", "k", "--endpoints=127.0.0.1"])
        .assert_refused("InvalidArgument", &["`127.0.0.1`"]);
    let nobody = unused_address();
    distkv(&["get", "k", "--endpoints", &nobody, "--timeout=1"])
        .assert_refused("Unavailable", &[&nobody]);
}

#[test]
fn settings_out_of_range_are_named() {
    let stage = Stage::new();
    for (flag, words) in [
        ("--listen=here", &["listen", "`here`"][..]),
        ("--listen=127.0.0.1", &["listen", "`127.0.0.1`"]),
        ("--advertise=here", &["address", "`here`"]),
        ("--join=127.0.0.1:1,nowhere", &["address", "`nowhere`"]),
        ("--partitions=48", &["partitions", "`48`", "power of two from 1 to 4096"]),
        ("--replication-factor=0", &["replication_factor", "`0`", "1 to 9"]),
        ("--vnodes=5000", &["vnodes", "`5000`", "1 to 4096"]),
        ("--weight=0", &["weight", "`0`", "0.01 to 100"]),
        ("--memory-limit=1MiB", &["`memory_limit`", "`1048576`", "least=`16777216`"]),
        ("--log-budget=1MiB", &["`log_budget`", "`1048576`", "least=`67108864`"]),
        ("--disk-reserve=1KiB", &["`disk_reserve`", "least=`1048576`"]),
        ("--snapshot-rate=0", &["`snapshot_rate`", "`0`", "least=`1048576`"]),
        ("--compaction-rate=64GiB", &["`compaction_rate`", "most=`17179869184`"]),
    ] {
        let dir = stage.path().join("untouched");
        let ran = distkv(&["serve", flag, "--data-dir", dir.to_str().unwrap()]);
        ran.assert_refused("InvalidArgument", words);
        assert!(!dir.exists(), "{flag}: the directory was not even made");
    }
}

#[test]
fn a_config_file_is_named_with_what_is_wrong_in_it() {
    let stage = Stage::new();
    let file = stage.path().join("node.toml");
    let path = file.to_str().unwrap();
    let serve = || distkv(&["serve", "--in-memory", "--config", path]);

    serve().assert_refused("InvalidArgument", &["cannot be read", path]);
    for (text, words) in [
        ("listen_address = \"x\"", &["`listen_address`", "`listen`", "`start_timeout`"][..]),
        ("\npartitions = \"many\"", &["line=`2`"]),
        ("listen = ", &["line=`1`"]),
        ("weight = 1000", &["weight", "`1000`", "0.01 to 100"]),
    ] {
        std::fs::write(&file, text).unwrap();
        serve().assert_refused("InvalidArgument", words);
        if !text.starts_with("weight") {
            serve().assert_refused("InvalidArgument", &[path]);
        }
    }
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    serve().assert_refused("InvalidArgument", &[path]);
}

#[test]
fn a_config_file_says_what_flags_leave_open() {
    let stage = Stage::new();
    let file = stage.path().join("node.toml");
    std::fs::write(&file, "partitions = 8\nlisten = \"127.0.0.1:1\"\nzone = \"rack-1\"\n").unwrap();
    let mut seat = stage.seat("configured").with(&["--config", file.to_str().unwrap()]);
    seat.start();
    assert_eq!(seat.status().unwrap().partitions, 8);
    assert_eq!(seat.members().unwrap()[0].zone.as_deref(), Some("rack-1"));
}

#[test]
fn a_port_in_use_is_named_and_the_directory_let_go() {
    let stage = Stage::new();
    let mut seat = stage.seat("late");
    let taken = TcpListener::bind(&seat.address).unwrap();
    seat.refuse().assert_refused("InvalidArgument", &[&seat.address.clone()]);
    seat.address = unused_address();
    seat.start();
    drop(taken);
}

#[test]
fn a_directory_in_use_is_named_and_the_port_let_go() {
    let stage = Stage::new();
    let mut owner = stage.seat("owner");
    let ready = owner.start();
    distkv(&["put", "whose", "the owner's", "--endpoints", &owner.address]).ok();

    let mut intruder = stage.seat("intruder");
    intruder.data_dir = owner.data_dir.clone();
    refused_by_directory(&mut intruder, "in use");
    assert!(TcpListener::bind(&intruder.address).is_ok(), "the port is free again");

    assert!(owner.is_running());
    let got = distkv(&["get", "whose", "--endpoints", &owner.address]).ok();
    assert_eq!(got, "the owner's\n", "the owner did not notice");
    owner.kill();
    let heir = intruder.start();
    assert_eq!(
        (heir.node, heir.cluster),
        (ready.node, ready.cluster),
        "a dead owner's lock is gone"
    );
}

#[test]
fn only_the_directory_of_a_node_that_does_not_run_can_be_looked_into() {
    let stage = Stage::new();
    let mut seat = stage.seat("looked-into");
    let dir = seat.data_dir.display().to_string();
    for command in ["verify", "inspect"] {
        distkv(&[command, &dir]).assert_refused("InvalidArgument", &["no such", &dir]);
    }
    seat.start();
    for command in ["verify", "inspect"] {
        distkv(&[command, &dir]).assert_refused("InvalidArgument", &["in use", &dir]);
    }
    seat.kill();
    assert!(distkv(&["verify", &dir]).ok().ends_with("\nsound\n"));
    assert!(distkv(&["inspect", &dir]).ok().contains("metadata"));
    let empty = stage.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for command in ["verify", "inspect"] {
        distkv(&[command, empty.to_str().unwrap()]).assert_refused("NotFound", &["empty"]);
    }
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0, "nothing was left behind");
}

#[test]
fn a_directory_that_cannot_be_one_is_named() {
    let stage = Stage::new();
    let mut seat = stage.seat("file");
    std::fs::write(&seat.data_dir, "not a directory").unwrap();
    refused_by_directory(&mut seat, "directory");
    let text = std::fs::read_to_string(&seat.data_dir).unwrap();
    assert_eq!(text, "not a directory", "it was left alone");
}

#[track_caller]
fn refused_by_directory(seat: &mut Seat, word: &str) {
    let dir = seat.data_dir.display().to_string();
    let exit: Exit = seat.refuse();
    exit.assert_refused("InvalidArgument", &[word, &dir]);
}
