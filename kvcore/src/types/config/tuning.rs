//! What of a cluster may be changed while it runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::error::{Error, Kind, Result};

const MIB: u64 = 1024 * 1024;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How eagerly a cluster moves replicas; the same on every node, kept by metadata.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tuning {
    /// Replicas on their way to one node at a time, 1 to 64. Default: 4.
    pub moves_per_node: u32,
    /// Bytes a second that each node sends of replicas, 1 MiB to just below 4 GiB; a node whose own
    /// `snapshot_rate` is lower keeps to that. 0: each node's own. Default: 0.
    pub move_rate: u64,
    /// Whether no more moves are to begin; those under way are finished. Default: false.
    pub paused: bool,
    /// Milliseconds without a link after which a node counts as dead, and its replicas are made anew on
    /// others; a second to a day. Default: 300,000, five minutes.
    pub dead_node_timeout_ms: u64,
    /// When so many of the members that were alive cannot be reached at once, none of them is taken for
    /// dead: more likely it is the network. In thousandths, 1 to 1001; 1001 is never. Default: 500.
    pub max_dead_milli: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            moves_per_node: 4,
            move_rate: 0,
            paused: false,
            dead_node_timeout_ms: 300_000,
            max_dead_milli: 500,
        }
    }
}

/// A change of some of it; what is None stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Retune {
    /// See [`Tuning::moves_per_node`].
    pub moves_per_node: Option<u32>,
    /// See [`Tuning::move_rate`].
    pub move_rate: Option<u64>,
    /// See [`Tuning::paused`].
    pub paused: Option<bool>,
    /// See [`Tuning::dead_node_timeout_ms`].
    pub dead_node_timeout_ms: Option<u64>,
    /// See [`Tuning::max_dead_milli`].
    pub max_dead_milli: Option<u32>,
}

impl Tuning {
    /// The same with some of it changed.
    ///
    /// # Errors
    /// `InvalidArgument` naming the setting, its value and what it may be.
    pub fn changed(&self, change: &Retune) -> Result<Tuning> {
        let tuning = Tuning {
            moves_per_node: change.moves_per_node.unwrap_or(self.moves_per_node),
            move_rate: change.move_rate.unwrap_or(self.move_rate),
            paused: change.paused.unwrap_or(self.paused),
            dead_node_timeout_ms: change.dead_node_timeout_ms.unwrap_or(self.dead_node_timeout_ms),
            max_dead_milli: change.max_dead_milli.unwrap_or(self.max_dead_milli),
        };
        let all = [
            ("moves_per_node", u64::from(tuning.moves_per_node), 1, 64),
            ("dead_node_timeout_ms", tuning.dead_node_timeout_ms, 1000, DAY_MS),
            ("max_dead_milli", u64::from(tuning.max_dead_milli), 1, 1001),
            ("move_rate", tuning.move_rate, MIB, 4 * 1024 * MIB - 1),
        ];
        for (name, value, least, most) in all {
            let without = name == "move_rate" && value == 0;
            if !without && !(least..=most).contains(&value) {
                return Err(Error::new(Kind::InvalidArgument, "cluster setting out of range")
                    .with("setting", name)
                    .with("value", value)
                    .with("least", least)
                    .with("most", most));
            }
        }
        Ok(tuning)
    }

    /// How long a node may be silent before it counts as dead.
    pub fn dead_node_timeout(&self) -> Duration {
        Duration::from_millis(self.dead_node_timeout_ms)
    }

    /// Whether so many of so many may be taken for dead at once.
    pub fn believes(&self, silent: usize, alive: usize) -> bool {
        silent as u64 * 1000 < u64::from(self.max_dead_milli) * alive as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_and_extremes_are_refused() {
        let tuning = Tuning::default();
        assert_eq!(tuning.changed(&Retune::default()).unwrap(), tuning);
        let change = Retune { moves_per_node: Some(8), paused: Some(true), ..Retune::default() };
        let changed = tuning.changed(&change).unwrap();
        assert_eq!((changed.moves_per_node, changed.paused, changed.move_rate), (8, true, 0));
        for bad in [
            Retune { moves_per_node: Some(0), ..Retune::default() },
            Retune { moves_per_node: Some(65), ..Retune::default() },
            Retune { move_rate: Some(1), ..Retune::default() },
            Retune { dead_node_timeout_ms: Some(999), ..Retune::default() },
            Retune { max_dead_milli: Some(0), ..Retune::default() },
        ] {
            let error = tuning.changed(&bad).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert!(error.message().contains("setting=`"), "{error}");
        }
    }

    #[test]
    fn half_of_the_nodes_do_not_die_at_once() {
        let tuning = Tuning::default();
        let believed = [(1, 3), (1, 4), (2, 5), (1, 2), (2, 4), (3, 5)];
        let believed = believed.map(|(silent, alive)| tuning.believes(silent, alive));
        assert_eq!(believed, [true, true, true, false, false, false]);
        let eager = tuning.changed(&Retune { max_dead_milli: Some(1001), ..Retune::default() });
        assert!(eager.unwrap().believes(5, 5));
    }
}
