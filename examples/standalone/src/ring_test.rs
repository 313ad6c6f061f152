use kvcore::api::{MoveStatus, Tuning};

use super::*;

fn ring() -> RingStatus {
    let node = |id: &str, state: &str, replicas, leaders, target| NodeLoad {
        id: id.into(),
        address: "127.0.0.1:7401".into(),
        state: state.into(),
        weight: 1.0,
        zone: None,
        replicas,
        leaders,
        bytes: replicas as u64 * 1024 * 1024,
        target,
    };
    RingStatus {
        epoch: 12,
        partitions: 64,
        replication_factor: 3,
        nodes: vec![
            node("00abcdef01234567", "up", 64, 32, 48),
            node("10abcdef01234567", "leaving", 48, 16, 0),
            NodeLoad {
                zone: Some("rack-1".into()),
                weight: 1.5,
                ..node("20abcdef01234567", "up", 8, 0, 72)
            },
        ],
        moves: vec![MoveStatus {
            partition: 5,
            from: Some("10abcdef01234567".into()),
            to: Some("20abcdef01234567".into()),
            bytes: 4 * 1024 * 1024,
            sent: 1024 * 1024,
        }],
        tuning: Tuning::default(),
    }
}

#[test]
fn bars_stand_beside_the_rows_where_there_is_room() {
    let drawn = draw(&ring(), 120);
    assert_eq!(
        drawn,
        "\
epoch 12, 64 partitions, replication factor 3

NODE              ADDRESS         STATE    ZONE    WEIGHT  LEADERS  BYTES     REPLICAS (OF TARGET)
00abcdef01234567  127.0.0.1:7401  up       -       1       32       64.0 MiB  ███████████████████│█████▊    64 of 48
10abcdef01234567  127.0.0.1:7401  leaving  -       1       16       48.0 MiB  │██████████████████▎          48 of 0
20abcdef01234567  127.0.0.1:7401  up       rack-1  1.5     0        8.0 MiB   ███▏                        │ 8 of 72
average                                                    16.0     40.0 MiB                                40.0 of 40.0

1 move under way, 1.0 MiB of 4.0 MiB sent
PARTITION  FROM              TO                SENT
5          10abcdef01234567  20abcdef01234567  1.0 MiB of 4.0 MiB  ██████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
all                                            1.0 MiB of 4.0 MiB  ██████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
"
    );
    assert!(drawn.lines().all(|line| console::measure_text_width(line) <= 120));
}

#[test]
fn bars_stand_below_the_rows_where_there_is_none() {
    let mut ring = ring();
    ring.moves.clear();
    ring.tuning.paused = true;
    ring.nodes.truncate(1);
    let drawn = draw(&ring, 80);
    assert_eq!(
        drawn,
        "\
epoch 12, 64 partitions, replication factor 3, paused

NODE              ADDRESS         STATE  ZONE  WEIGHT  LEADERS  BYTES
  REPLICAS (OF TARGET)
00abcdef01234567  127.0.0.1:7401  up     -     1       32       64.0 MiB
  █████████████████████████████│██████████ 64 of 48
average                                                32.0     64.0 MiB
                                           64.0 of 48.0

no moves under way
"
    );
    assert!(drawn.lines().all(|line| console::measure_text_width(line) <= 80));
}

#[test]
fn json_has_the_names_that_scripts_go_by() {
    let json: serde_json::Value = serde_json::from_str(&report::json(&ring()).unwrap()).unwrap();
    for name in ["epoch", "partitions", "replication_factor", "nodes", "moves"] {
        assert!(json.get(name).is_some(), "{name}");
    }
    for name in ["id", "address", "state", "weight", "zone", "replicas", "leaders", "bytes"] {
        assert!(json["nodes"][0].get(name).is_some(), "{name}");
    }
}
