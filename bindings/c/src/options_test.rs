use std::path::Path;
use std::ptr;

use super::*;
use crate::error::{DISTKV_INVALID_ARGUMENT, DISTKV_OK, distkv_error_code, distkv_error_free};

fn code(error: *mut distkv_error) -> i32 {
    let code = distkv_error_code(error);
    distkv_error_free(error);
    code
}

#[test]
fn every_setting_arrives() {
    let options = distkv_options_new();
    for error in [
        distkv_options_set_listen(options, c"127.0.0.1:7400".as_ptr()),
        distkv_options_set_advertise(options, c"node-1:7400".as_ptr()),
        distkv_options_set_data_dir(options, c"/var/lib/distkv".as_ptr()),
        distkv_options_add_join(options, c"node-2:7400".as_ptr()),
        distkv_options_add_join(options, c"node-3:7400".as_ptr()),
        distkv_options_set_bootstrap(options, true),
        distkv_options_set_partitions(options, 128),
        distkv_options_set_replication_factor(options, 5),
        distkv_options_set_vnodes(options, 32),
        distkv_options_set_zone(options, c"cellar".as_ptr()),
        distkv_options_set_weight(options, 2.5),
        distkv_options_set_memory_limit(options, 1 << 30),
        distkv_options_set_log_budget(options, 2 << 30),
        distkv_options_set_disk_reserve(options, 1 << 20),
        distkv_options_set_snapshot_rate(options, 2 << 20),
        distkv_options_set_compaction_rate(options, 3 << 20),
        distkv_options_set_moves_per_node(options, 8),
        distkv_options_set_move_rate(options, 4 << 20),
        distkv_options_set_paused(options, true),
        distkv_options_set_dead_node_timeout_ms(options, 60_000),
        distkv_options_set_max_dead_fraction(options, 1.001),
        distkv_options_set_if_revision(options, 7),
        distkv_options_set_lease_reads(options, true),
        distkv_options_set_timeout_ms(options, 1500),
    ] {
        assert_eq!(code(error), DISTKV_OK);
    }

    let call = distkv_options::for_call(options);
    assert_eq!(call.if_revision, Some(7));
    assert_eq!(call.consistency, Consistency::Lease);
    assert_eq!(call.timeout, Some(Duration::from_millis(1500)));
    let tuning = distkv_options::for_tuning(options);
    let wanted = Retune {
        moves_per_node: Some(8),
        move_rate: Some(4 << 20),
        paused: Some(true),
        dead_node_timeout_ms: Some(60_000),
        max_dead_milli: Some(1001),
    };
    assert_eq!(tuning, wanted);

    let config = distkv_options::for_node(options);
    assert_eq!(config.listen, "127.0.0.1:7400");
    assert_eq!(config.advertise.as_deref(), Some("node-1:7400"));
    assert_eq!(config.data_dir.as_deref(), Some(Path::new("/var/lib/distkv")));
    assert_eq!(config.join, ["node-2:7400", "node-3:7400"]);
    assert!(config.bootstrap);
    assert_eq!(config.founding.partitions, Some(128));
    assert_eq!(config.founding.replication_factor, Some(5));
    assert_eq!(config.founding.vnodes, Some(32));
    assert_eq!(config.zone.as_deref(), Some("cellar"));
    assert_eq!(config.weight, 2.5);
    assert_eq!(config.storage.memory_limit, 1 << 30);
    assert_eq!(config.storage.log_budget, 2 << 30);
    assert_eq!(config.storage.disk_reserve, 1 << 20);
    assert_eq!(config.storage.snapshot_rate, 2 << 20);
    assert_eq!(config.storage.compaction_rate, 3 << 20);
    assert_eq!(config.start_timeout, Duration::from_millis(1500));
    config.validate().unwrap();

    let client = distkv_options::for_client(options);
    assert_eq!(client.timeout, Duration::from_millis(1500));
    assert_eq!(client.connect_timeout, Duration::from_millis(1500));
    assert_eq!(distkv_options::for_call(options).timeout, Some(Duration::from_millis(1500)));
    distkv_options_free(options);
}

#[test]
fn no_options_are_the_defaults() {
    let config = distkv_options::for_node(ptr::null());
    assert_eq!(config.listen, NodeConfig::default().listen);
    assert_eq!(config.start_timeout, NodeConfig::default().start_timeout);
    assert_eq!(distkv_options::for_client(ptr::null()).timeout, ClientOptions::default().timeout);
    assert_eq!(distkv_options::for_call(ptr::null()).timeout, None);
    assert_eq!(distkv_options::for_tuning(ptr::null()), Retune::default());
    let untouched = distkv_options_new();
    assert_eq!(distkv_options::for_tuning(untouched), Retune::default());
    distkv_options_free(untouched);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let options = distkv_options_new();
    for error in [
        distkv_options_set_partitions(options, 65_536 + 64),
        distkv_options_set_replication_factor(options, 256 + 3),
        distkv_options_set_timeout_ms(options, 0),
        distkv_options_set_max_dead_fraction(options, -0.1),
        distkv_options_set_max_dead_fraction(options, f64::NAN),
        distkv_options_set_zone(options, c"\xff".as_ptr()),
        distkv_options_set_listen(options, ptr::null()),
        distkv_options_set_advertise(options, ptr::null()),
        distkv_options_set_data_dir(options, ptr::null()),
        distkv_options_add_join(options, ptr::null()),
        distkv_options_set_zone(options, ptr::null()),
    ] {
        assert_eq!(code(error), DISTKV_INVALID_ARGUMENT);
    }
    let config = distkv_options::for_node(options);
    assert_eq!(format!("{config:?}"), format!("{:?}", NodeConfig::default()));
    assert_eq!(distkv_options::for_tuning(options), Retune::default());
    distkv_options_free(options);
    distkv_options_free(ptr::null_mut());
}

#[test]
fn options_that_are_null_are_named() {
    for error in [
        distkv_options_set_listen(ptr::null_mut(), c"".as_ptr()),
        distkv_options_set_bootstrap(ptr::null_mut(), true),
        distkv_options_set_vnodes(ptr::null_mut(), 1),
        distkv_options_set_weight(ptr::null_mut(), 1.0),
        distkv_options_set_paused(ptr::null_mut(), true),
    ] {
        assert_eq!(code(error), DISTKV_INVALID_ARGUMENT);
    }
}
