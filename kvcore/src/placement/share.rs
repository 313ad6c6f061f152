//! What is fair: how many replicas each node should hold.

use std::collections::BTreeMap;

use super::ring::Weighted;
use crate::types::NodeId;

/// Shares are counted in millionths of a replica, so that a share that is a whole number is one
/// exactly and its bounds do not hang on a rounding error.
pub(super) const REPLICA: u64 = 1_000_000;

/// The precision in which the equations are solved; the result is rounded to millionths.
const FINE: u128 = 1_000_000_000;
/// A level is in fine units for each million thousandths of weight.
const LEVEL: u128 = 1_000_000;

/// A failure zone: no two replicas of a partition should be in the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Zone<'a> {
    /// One that several nodes may name.
    Named(&'a str),
    /// That of a node which names none.
    Own(NodeId),
}

impl Weighted {
    pub(super) fn zone(&self) -> Zone<'_> {
        self.zone.as_deref().map_or(Zone::Own(self.node), Zone::Named)
    }
}

/// The share of each member of `copies` replicas of each of `partitions` partitions, in millionths
/// of a replica and at least one millionth.
///
/// A share is proportional to the weight, but nobody's is more than one replica of each partition.
/// When there are at least as many zones as copies, that holds for a zone as well; when there are
/// at most as many, every zone gets at least one replica of each partition.
pub(super) fn replica_shares(
    members: &[&Weighted],
    partitions: u64,
    copies: usize,
) -> BTreeMap<NodeId, u64> {
    let mut zones: BTreeMap<Zone, Vec<&Weighted>> = BTreeMap::new();
    for member in members {
        zones.entry(member.zone()).or_default().push(member);
    }
    let zones: Vec<Vec<&Weighted>> = zones.into_values().collect();
    let whole = u128::from(partitions) * FINE;
    let all = whole * copies as u128;
    let least = if zones.len() <= copies { whole } else { 0 };
    let most = if zones.len() >= copies { whole } else { all };
    let zone_share =
        |zone: &[&Weighted], level| poured(zone, level, whole).clamp(least, most.max(least));

    let level = solve(all, whole, |level| zones.iter().map(|zone| zone_share(zone, level)).sum());
    let mut shares = BTreeMap::new();
    for zone in &zones {
        let share = zone_share(zone, level);
        if let [member] = zone.as_slice() {
            // Nothing to divide, as nearly everywhere when no zones are named.
            shares.insert(member.node, rounded(share.min(whole)));
            continue;
        }
        let level = solve(share, whole, |level| poured(zone, level, whole));
        shares.extend(zone.iter().map(|member| (member.node, rounded(held(member, level, whole)))));
    }
    shares
}

/// The share of each member of the leadership of `partitions` partitions, in millionths of a
/// partition and at least one. Zones do not matter here: only one replica of a partition leads.
pub(super) fn leader_shares(members: &[&Weighted], partitions: u64) -> BTreeMap<NodeId, u64> {
    let whole = u128::from(partitions) * FINE;
    let level = solve(whole, whole, |level| poured(members, level, whole));
    members.iter().map(|member| (member.node, rounded(held(member, level, whole)))).collect()
}

/// What a member holds when everyone holds `level` for its weight, up to `whole`.
fn held(member: &Weighted, level: u128, whole: u128) -> u128 {
    (level * u128::from(member.weight_milli.max(1)) / LEVEL).min(whole)
}

fn poured(members: &[&Weighted], level: u128, whole: u128) -> u128 {
    members.iter().map(|member| held(member, level, whole)).sum()
}

/// The highest level at which `sum`, which never falls as the level rises, is at most `total`.
fn solve(total: u128, whole: u128, sum: impl Fn(u128) -> u128) -> u128 {
    // At the highest level even the smallest weight holds everything it can.
    let (mut low, mut high) = (0, whole * LEVEL);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if sum(middle) <= total {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

fn rounded(fine: u128) -> u64 {
    let unit = FINE / u128::from(REPLICA);
    u64::try_from((fine + unit / 2) / unit).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares in thousandths of a replica, in the order of the members given by (weight, zone).
    fn shares(members: &[(u32, &str)], partitions: u64, copies: usize) -> Vec<u64> {
        let members: Vec<Weighted> = (0..)
            .zip(members)
            .map(|(node, (weight_milli, zone))| Weighted {
                node: NodeId(node),
                weight_milli: *weight_milli,
                zone: (!zone.is_empty()).then(|| zone.to_string()),
            })
            .collect();
        let members: Vec<&Weighted> = members.iter().collect();
        let shares = replica_shares(&members, partitions, copies);
        shares.into_values().map(|share| share / 1000).collect()
    }

    const N: (u32, &str) = (1000, "");

    #[test]
    fn equal_nodes_have_equal_shares() {
        assert_eq!(shares(&[N], 64, 1), [64_000]);
        assert_eq!(shares(&[N, N, N], 64, 3), [64_000; 3]);
        assert_eq!(shares(&[N; 6], 64, 3), [32_000; 6]);
        assert_eq!(shares(&[N; 7], 64, 3), [27_428; 7]);
        assert_eq!(shares(&[N; 5], 4096, 3), [2_457_600; 5]);
    }

    #[test]
    fn a_share_follows_the_weight_as_far_as_it_can() {
        assert_eq!(
            shares(&[N, N, N, N, (2000, "")], 60, 3),
            [30_000, 30_000, 30_000, 30_000, 60_000]
        );
        // One node can hold a partition once only; the others share the rest.
        assert_eq!(shares(&[N, N, N, (9000, "")], 60, 3), [40_000, 40_000, 40_000, 60_000]);
        assert_eq!(shares(&[N, (100_000, ""), (10, "")], 64, 3), [64_000; 3]);
        assert_eq!(shares(&[N, (0, ""), N], 64, 2), [63_968, 63, 63_968]);
    }

    #[test]
    fn a_zone_has_no_more_than_one_copy_while_there_are_enough_zones() {
        let (a, b, c, d) = ((1000, "a"), (1000, "b"), (1000, "c"), (1000, "d"));
        assert_eq!(
            shares(&[a, b, b, c, c, c], 60, 3),
            [60_000, 30_000, 30_000, 20_000, 20_000, 20_000]
        );
        // Zone a could take 3/6 by weight, but not more than 60 of 120.
        assert_eq!(
            shares(&[a, a, a, b, c, d], 60, 2),
            [20_000, 20_000, 20_000, 20_000, 20_000, 20_000]
        );
        assert_eq!(
            shares(&[a, a, a, a, b, c], 60, 2),
            [15_000, 15_000, 15_000, 15_000, 30_000, 30_000]
        );
    }

    #[test]
    fn every_zone_has_a_copy_when_there_are_few() {
        let (a, b) = ((1000, "a"), (1000, "b"));
        assert_eq!(shares(&[a, b, b, b, b], 60, 3), [60_000, 30_000, 30_000, 30_000, 30_000]);
        assert_eq!(shares(&[a, a, b, b], 60, 3), [45_000; 4]);
        assert_eq!(shares(&[a, a, a], 60, 2), [40_000; 3]);
    }

    #[test]
    fn leadership_follows_the_weight_alone() {
        let member = |node, weight_milli, zone: &str| Weighted {
            node: NodeId(node),
            weight_milli,
            zone: Some(zone.into()),
        };
        let members = [member(1, 1000, "a"), member(2, 1000, "b"), member(3, 2000, "b")];
        let members: Vec<&Weighted> = members.iter().collect();
        let shares: Vec<u64> = leader_shares(&members, 64).into_values().collect();
        assert_eq!(shares, [16 * REPLICA, 16 * REPLICA, 32 * REPLICA]);
    }
}
