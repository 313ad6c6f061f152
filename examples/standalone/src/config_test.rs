use clap::{CommandFactory, Parser};

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

fn flags(line: &[&str]) -> Settings {
    Flags::try_parse_from([&["serve"], line].concat()).unwrap().settings
}

fn file(text: &str) -> Result<Settings> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, text).unwrap();
    Settings::read(&path)
}

const EVERYTHING: &str = r#"
    listen = "127.0.0.1:1"
    advertise = "here:2"
    data_dir = "/data"
    in_memory = false
    join = ["a:1", "b:2"]
    bootstrap = true
    partitions = 128
    replication_factor = 5
    vnodes = 32
    zone = "z"
    weight = 2
    start_timeout = 1.5
    memory_limit = "64MiB"
    log_budget = "2GiB"
    disk_reserve = 0
    snapshot_rate = 1048576
    compaction_rate = "10MB"
"#;

#[test]
fn a_file_says_what_flags_say() {
    let said = flags(&[
        "--listen=127.0.0.1:1",
        "--advertise=here:2",
        "--data-dir=/data",
        "--in-memory=false",
        "--join=a:1,b:2",
        "--bootstrap",
        "--partitions=128",
        "--replication-factor=5",
        "--vnodes=32",
        "--zone=z",
        "--weight=2",
        "--start-timeout=1.5",
        "--memory-limit=64MiB",
        "--log-budget=2GiB",
        "--disk-reserve=0",
        "--snapshot-rate=1MiB",
        "--compaction-rate=10000000",
    ]);
    assert_eq!(file(EVERYTHING).unwrap(), said);
}

#[test]
fn every_flag_is_a_key_of_the_file_and_the_other_way_round() {
    let error = file("no_such_key = 1").unwrap_err().to_string();
    for flag in Flags::command().get_arguments().filter_map(|flag| flag.get_long()) {
        let key = flag.replace('-', "_");
        assert!(error.contains(&format!("`{key}`")), "{key} is missing in: {error}");
        assert!(EVERYTHING.contains(&format!("{key} = ")), "{key} is not tested");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_file_and_line() {
    let error = file("listen = \"127.0.0.1:1\"\npartition = 64\n").unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    let message = error.to_string();
    assert!(message.contains("unknown field `partition`"), "{message}");
    assert!(message.contains("`replication_factor`"), "{message}");
    assert!(message.contains("node.toml` line=`2`"), "{message}");
}

#[test]
fn flags_win_over_the_file() {
    let line =
        ["--listen=127.0.0.1:9", "--join=c:3", "--bootstrap=false", "--weight=3", "--data-dir=/x"];
    let config = flags(&line).over(file(EVERYTHING).unwrap()).node_config().unwrap();
    assert_eq!(config.listen, "127.0.0.1:9");
    assert_eq!(config.join, ["c:3"]);
    assert!(!config.bootstrap);
    assert_eq!(config.weight.to_string(), "3");
    assert_eq!(config.data_dir, Some("/x".into()));
    assert_eq!(config.advertise.as_deref(), Some("here:2"));
    assert_eq!(config.founding.partitions, Some(128));
    assert_eq!(config.start_timeout, Duration::from_millis(1500));
    assert_eq!(config.storage.memory_limit, 64 << 20);
    assert_eq!(config.storage.compaction_rate, 10_000_000);
}

#[test]
fn what_nobody_says_has_the_default() {
    let config = flags(&[]).over(file("").unwrap()).node_config().unwrap();
    assert_eq!(config.listen, "127.0.0.1:7400");
    assert_eq!(config.data_dir, Some("./distkv-data".into()));
    assert_eq!(config.founding, Founding::default());
    assert_eq!(config.start_timeout, NodeConfig::default().start_timeout);
    config.validate().unwrap();
}

#[test]
fn disk_or_memory_is_one_question() {
    let place = |line: &[&str], text: &str| {
        flags(line).over(file(text).unwrap()).node_config().map(|config| config.data_dir)
    };
    assert_eq!(place(&["--in-memory"], "").unwrap(), None);
    assert_eq!(place(&["--in-memory"], "data_dir = \"/d\"").unwrap(), None);
    assert_eq!(place(&["--data-dir=/d"], "in_memory = true").unwrap(), Some("/d".into()));
    assert_eq!(place(&["--in-memory=false"], "data_dir = \"/d\"").unwrap(), Some("/d".into()));
    assert_eq!(place(&[], "in_memory = true").unwrap(), None);
    for error in [
        place(&["--in-memory", "--data-dir=/d"], "").unwrap_err(),
        place(&[], "in_memory = true\ndata_dir = \"/d\"").unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.message().contains("data_dir=`/d`"), "{error}");
    }
}

#[test]
fn join_is_repeated_or_separated_by_commas() {
    let config = flags(&["--join=a:1,b:2", "--join", "c:3, d:4"]).node_config().unwrap();
    assert_eq!(config.join, ["a:1", "b:2", "c:3", "d:4"]);
}

#[test]
fn a_value_of_the_wrong_type_or_size_is_refused_with_its_line() {
    for bad in [
        "partitions = \"many\"",
        "partitions = 100000",
        "join = \"a:1\"",
        "start_timeout = 0",
        "start_timeout = 1e300",
        "memory_limit = \"much\"",
        "log_budget = -1",
        "listen 1",
    ] {
        let error = file(bad).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{bad}");
        assert!(error.message().contains("line=`1`"), "{error}");
    }
}

#[test]
fn an_unreadable_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("missing.toml")] {
        let error = Settings::read(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.message().contains(&format!("file=`{}`", path.display())), "{error}");
    }
}

#[test]
fn seconds_are_positive_and_bounded() {
    assert_eq!(Duration::from("0.25".parse::<Seconds>().unwrap()), Duration::from_millis(250));
    for bad in ["0", "-1", "nan", "inf", "1e9", "soon", ""] {
        assert!(bad.parse::<Seconds>().is_err(), "{bad}");
    }
}
