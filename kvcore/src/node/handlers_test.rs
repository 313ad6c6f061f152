use tokio::time::Instant;

use super::*;
use crate::node::Node;
use crate::placement;
use crate::rpc::{Identity, Pool};
use crate::types::config::NodeConfig;
use crate::types::{Clock, Entropy, Limits, Seam};

const HERE: NodeId = NodeId(1);

#[derive(Debug)]
struct Real(Instant);

impl Clock for Real {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        1_000
    }
}

impl Entropy for Real {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

fn seam() -> Seam {
    Seam { clock: Arc::new(Real(Instant::now())), entropy: Arc::new(Real(Instant::now())) }
}

fn held_by(nodes: &[u64], preferred: Option<u64>) -> Assignment {
    let replica =
        |node: &u64| placement::Replica { id: ReplicaId(100 + node), node: NodeId(*node) };
    Assignment { replicas: nodes.iter().map(replica).collect(), preferred: preferred.map(NodeId) }
}

fn reachable(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

#[test]
fn a_known_leader_is_asked() {
    let assignment = held_by(&[1, 2, 3], Some(2));
    let chosen = choose(HERE, Some(NodeId(3)), Some(&assignment), &reachable(&[1, 2, 3]));
    assert_eq!(chosen, Some(NodeId(3)));
}

#[test]
fn where_no_leader_is_known_another_holder_is_asked() {
    let all = reachable(&[1, 2, 3, 4]);
    // Nobody is known to lead, or this node itself, which no longer does.
    for leader in [None, Some(HERE)] {
        let chosen = |assignment: Assignment, reachable: &BTreeSet<NodeId>| {
            choose(HERE, leader, Some(&assignment), reachable)
        };
        assert_eq!(chosen(held_by(&[2, 3, 4], Some(3)), &all), Some(NodeId(3)));
        assert_eq!(chosen(held_by(&[1, 2, 3], Some(1)), &all), Some(NodeId(2)));
        assert_eq!(chosen(held_by(&[2, 3, 4], Some(3)), &reachable(&[1, 4])), Some(NodeId(4)));
        assert_eq!(chosen(held_by(&[1], Some(1)), &all), None);
        assert_eq!(chosen(held_by(&[2, 3], None), &reachable(&[1])), None);
        assert_eq!(choose(HERE, leader, None, &all), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_between_replicas_are_taken_from_members_only() {
    let mut config = NodeConfig { listen: "127.0.0.1:0".into(), ..NodeConfig::default() };
    config.founding.partitions = Some(1);
    let node = Node::start(config, seam()).await.unwrap();
    let ask = request::Body::AskVote(message::AskVote { to: 77, ..message::AskVote::default() });
    let change = request::Body::Propose(message::Propose::default());
    let member = Identity {
        node: Some(NodeId(9)),
        cluster: Some(node.cluster()),
        address: "127.0.0.1:9".into(),
    };
    let newcomer = Identity { cluster: None, ..member.clone() };
    for (identity, allowed) in [(Identity::default(), false), (member, true), (newcomer, true)] {
        let pool = Pool::new(identity.clone(), None, &Limits::default(), seam());
        let peer = pool.address_peer(node.address());
        for request in [ask.clone(), change.clone()] {
            // Neither makes sense: there is no such replica and no such change.
            let kind = peer.call(request, Duration::from_secs(10)).await.unwrap_err().kind();
            assert_eq!(kind != Kind::PermissionDenied, allowed, "{identity:?}: {kind}");
        }
        pool.close().await;
    }
    node.stop().await.unwrap();
}

#[test]
fn a_member_of_another_cluster_is_no_member_and_one_that_was_removed_neither() {
    let caller = |cluster| Caller { node: Some(NodeId(9)), cluster, ..Caller::default() };
    let (here, there) = (caller(Some(ClusterId(1))), caller(Some(ClusterId(2))));
    let (nobody, it) = (BTreeSet::new(), BTreeSet::from([NodeId(9)]));
    check_member(ClusterId(1), &nobody, &here).unwrap();
    check_member(ClusterId(1), &nobody, &caller(None)).unwrap();
    for refused in
        [check_member(ClusterId(1), &nobody, &there), check_member(ClusterId(1), &it, &here)]
    {
        assert_eq!(refused.unwrap_err().kind(), Kind::PermissionDenied);
    }
}
