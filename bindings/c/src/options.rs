//! What a caller may say about a node, a client or a call.
#![allow(unsafe_code, reason = "exports are `no_mangle`")]

use std::ffi::c_char;
use std::time::Duration;

use kvcore::api::{
    CallOptions, ClientOptions, Consistency, Error, Kind, NodeConfig, Result, Retune,
};

use crate::error::distkv_error;
use crate::{bytes, guard, handles};

/// Settings of a node, a client, a call, or the tuning of a cluster. Whatever takes options copies them, so that the same ones
/// may be changed, used again, or freed at once. What a setting has no meaning for ignores it.
#[derive(Default)]
pub struct distkv_options {
    node: NodeConfig,
    tuning: Retune,
    call: CallOptions,
    timeout: Option<Duration>,
}

impl distkv_options {
    /// What a node is started with.
    pub(crate) fn for_node(options: *const distkv_options) -> NodeConfig {
        handles::look_if_any(options, |options| {
            let Some(options) = options else { return NodeConfig::default() };
            let mut config = options.node.clone();
            if let Some(timeout) = options.timeout {
                config.start_timeout = timeout;
            }
            config
        })
    }

    /// What a client is connected with.
    pub(crate) fn for_client(options: *const distkv_options) -> ClientOptions {
        let mut client = ClientOptions::default();
        if let Some(timeout) = timeout(options) {
            client.timeout = timeout;
            client.connect_timeout = timeout;
        }
        client
    }

    /// What a call is made with.
    pub(crate) fn for_call(options: *const distkv_options) -> CallOptions {
        handles::look_if_any(options, |options| {
            options.map_or_else(CallOptions::default, |options| CallOptions {
                timeout: options.timeout,
                ..options.call.clone()
            })
        })
    }

    /// What of a cluster is to be tuned.
    pub(crate) fn for_tuning(options: *const distkv_options) -> Retune {
        handles::look_if_any(options, |options| {
            options.map_or_else(Retune::default, |options| options.tuning)
        })
    }
}

fn timeout(options: *const distkv_options) -> Option<Duration> {
    handles::look_if_any(options, |options| options.and_then(|options| options.timeout))
}

/// New options, all at their defaults; never NULL. Free them with distkv_options_free. Thread-safe;
/// the options themselves may be changed by one thread at a time.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_new() -> *mut distkv_options {
    guard::answer(std::ptr::null_mut(), || handles::give(distkv_options::default()))
}

/// Frees options. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_free(options: *mut distkv_options) {
    guard::answer((), || drop(handles::take_back(options)));
}

/// Node: where to listen, "IP:PORT"; port 0 picks a free one. Default: "127.0.0.1:0". The text is
/// copied, and checked when the node is opened.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_listen(
    options: *mut distkv_options,
    listen: *const c_char,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.listen = bytes::text(listen, "listen")?;
        Ok(())
    })
}

/// Node: what others are told to dial, "HOST:PORT". Default: the address listened on. The text is
/// copied, and checked when the node is opened.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_advertise(
    options: *mut distkv_options,
    advertise: *const c_char,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.advertise = Some(bytes::text(advertise, "advertise")?);
        Ok(())
    })
}

/// Node: the directory that holds its identity, log and data. Default: none, the node keeps all in
/// memory and is forgotten with its process. The path is copied; it may be any bytes.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_data_dir(
    options: *mut distkv_options,
    data_dir: *const c_char,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.data_dir = Some(bytes::path(data_dir, "data_dir")?);
        Ok(())
    })
}

/// Node: adds the address of a member, "HOST:PORT", that may be asked to let the node in. Default:
/// none, the node founds a cluster of its own if its directory is empty. The text is copied, and
/// checked when the node is opened.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_add_join(
    options: *mut distkv_options,
    address: *const c_char,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.join.push(bytes::text(address, "address")?);
        Ok(())
    })
}

/// Node: whether to found a cluster although there are addresses to join, if none of them belongs to
/// one. Default: false.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_bootstrap(
    options: *mut distkv_options,
    bootstrap: bool,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.bootstrap = bootstrap;
        Ok(())
    })
}

/// Node: how many partitions its cluster has, a power of two from 1 to 4096; fixed at the founding.
/// Default: 64 for a founder; a joining node takes what the cluster has.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_partitions(
    options: *mut distkv_options,
    partitions: u32,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.founding.partitions = Some(narrow("partitions", partitions)?);
        Ok(())
    })
}

/// Node: how many nodes hold each partition, 1 to 9; fixed at the founding. Default: 3 for a founder;
/// a joining node takes what the cluster has.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_replication_factor(
    options: *mut distkv_options,
    replication_factor: u32,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.founding.replication_factor =
            Some(narrow("replication_factor", replication_factor)?);
        Ok(())
    })
}

/// Node: how many virtual nodes a node of weight 1 has on the ring, 1 to 4096; fixed at the founding.
/// Default: 64 for a founder; a joining node takes what the cluster has.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_vnodes(
    options: *mut distkv_options,
    vnodes: u32,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.founding.vnodes = Some(vnodes);
        Ok(())
    })
}

/// Node: its failure zone (rack, data centre). A zone repeats among the nodes of a partition only
/// when no other is left. Default: none. The text is copied.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_zone(
    options: *mut distkv_options,
    zone: *const c_char,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.zone = Some(bytes::text(zone, "zone")?);
        Ok(())
    })
}

/// Node: its share of the data against others', 0.01 to 100. Default: 1.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_weight(
    options: *mut distkv_options,
    weight: f64,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.weight = weight;
        Ok(())
    })
}

/// Node: bytes of memory for what it stores: with a data directory for caches and tables that are not
/// written out yet, without one for all keys and values. 16 MiB to 1 TiB. Default: 512 MiB.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_memory_limit(
    options: *mut distkv_options,
    bytes: u64,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.storage.memory_limit = bytes;
        Ok(())
    })
}

/// Node: bytes that its log of all replicas may take. 64 MiB to 1 TiB. Default: 1 GiB.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_log_budget(
    options: *mut distkv_options,
    bytes: u64,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.storage.log_budget = bytes;
        Ok(())
    })
}

/// Node: bytes of disk held back to clear up with when it is full, a sixteenth of the file system at
/// most. 0, or 1 MiB to 1 TiB. Default: 256 MiB.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_disk_reserve(
    options: *mut distkv_options,
    bytes: u64,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.storage.disk_reserve = bytes;
        Ok(())
    })
}

/// Node: bytes a second that it sends of snapshots to other replicas. 1 MiB to just below 4 GiB.
/// Default: 16 MiB.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_snapshot_rate(
    options: *mut distkv_options,
    bytes_a_second: u64,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.storage.snapshot_rate = bytes_a_second;
        Ok(())
    })
}

/// Node: bytes a second that are written to disk in the background. 1 MiB to 16 GiB. Default: 256 MiB.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_compaction_rate(
    options: *mut distkv_options,
    bytes_a_second: u64,
) -> *mut distkv_error {
    set(options, |options| {
        options.node.storage.compaction_rate = bytes_a_second;
        Ok(())
    })
}

/// Tuning: replicas on their way to one node at a time, 1 to 64. Default: stays as it is, 4 at first.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_moves_per_node(
    options: *mut distkv_options,
    moves: u32,
) -> *mut distkv_error {
    set(options, |options| {
        options.tuning.moves_per_node = Some(moves);
        Ok(())
    })
}

/// Tuning: bytes a second that each node sends of replicas, 1 MiB to just below 4 GiB; a node whose own
/// snapshot rate is lower keeps to that. 0: each node's own. Default: stays as it is, 0 at first.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_move_rate(
    options: *mut distkv_options,
    bytes_a_second: u64,
) -> *mut distkv_error {
    set(options, |options| {
        options.tuning.move_rate = Some(bytes_a_second);
        Ok(())
    })
}

/// Tuning: whether no more moves are to begin; those under way are finished. Default: stays as it is,
/// false at first.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_paused(
    options: *mut distkv_options,
    paused: bool,
) -> *mut distkv_error {
    set(options, |options| {
        options.tuning.paused = Some(paused);
        Ok(())
    })
}

/// Tuning: milliseconds without a link after which a node counts as dead, and its replicas are made
/// anew on others; 1,000 to 86,400,000. Default: stays as it is, 300,000 at first.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_dead_node_timeout_ms(
    options: *mut distkv_options,
    timeout_ms: u64,
) -> *mut distkv_error {
    set(options, |options| {
        options.tuning.dead_node_timeout_ms = Some(timeout_ms);
        Ok(())
    })
}

/// Tuning: if this part of the nodes or more vanishes at once, none of it is taken for dead; 0.001 to
/// 1.001, which takes any number for dead. It is kept in thousandths. Default: stays as it is, 0.5 at
/// first.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_max_dead_fraction(
    options: *mut distkv_options,
    fraction: f64,
) -> *mut distkv_error {
    set(options, |options| {
        let milli = (fraction * 1000.0).round();
        if !(0.0..=f64::from(u32::MAX)).contains(&milli) {
            return Err(Error::new(Kind::InvalidArgument, "setting out of range")
                .with("setting", "max_dead_fraction")
                .with("value", fraction));
        }
        options.tuning.max_dead_milli = Some(milli as u32);
        Ok(())
    })
}

/// Call: a put or delete is done only if the key has this revision; an absent key has revision 0. Else it
/// answers DISTKV_CONFLICT, with the revision in force (distkv_error_revision). Default: whatever it has.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_if_revision(
    options: *mut distkv_options,
    revision: u64,
) -> *mut distkv_error {
    set(options, |options| {
        options.call.if_revision = Some(revision);
        Ok(())
    })
}

/// Call: whether a get may trust the leader's lease rather than have the leader ask a majority: as fresh as
/// long as the clocks of the nodes run at nearly the same rate. Default: false.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_lease_reads(
    options: *mut distkv_options,
    lease: bool,
) -> *mut distkv_error {
    set(options, |options| {
        options.call.consistency =
            if lease { Consistency::Lease } else { Consistency::Linearizable };
        Ok(())
    })
}

/// How long, in milliseconds and at least 1, the call may take that is given these options: opening a
/// node (default: 60,000), opening a client (default: 5,000), or a call of a client. What a client
/// was opened with is also the default of its calls.
#[unsafe(no_mangle)]
pub extern "C" fn distkv_options_set_timeout_ms(
    options: *mut distkv_options,
    timeout_ms: u32,
) -> *mut distkv_error {
    set(options, |options| {
        if timeout_ms == 0 {
            return Err(Error::new(Kind::InvalidArgument, "setting out of range")
                .with("setting", "timeout_ms")
                .with("value", timeout_ms)
                .with("least", 1));
        }
        options.timeout = Some(Duration::from_millis(timeout_ms.into()));
        Ok(())
    })
}

fn set(
    options: *mut distkv_options,
    set: impl FnOnce(&mut distkv_options) -> Result<()>,
) -> *mut distkv_error {
    guard::call(|| handles::change(options, "options", set))
}

/// A number that is wider in C than here, so that a wrong one is told and not cut off.
fn narrow<T: TryFrom<u32>>(name: &'static str, value: u32) -> Result<T> {
    T::try_from(value).map_err(|_| {
        Error::new(Kind::InvalidArgument, "setting out of range")
            .with("setting", name)
            .with("value", value)
    })
}

#[cfg(test)]
#[path = "options_test.rs"]
mod tests;
