use super::*;
use crate::metadata::Member;
use crate::placement::{Assignment, Replica, Table};
use crate::types::ReplicaId;
use crate::types::config::{ClusterConfig, Retune};

/// A map of so many members, 1 and up, that holds what its target says.
fn settled(members: u64, partitions: u16) -> State {
    let member = |node: u64| Member {
        node: NodeId(node),
        address: format!("127.0.0.1:{node}"),
        zone: None,
        weight_milli: 1000,
        metadata: ReplicaId(node),
        leaving: false,
        dead: false,
    };
    let mut state = State::default();
    state.members.extend((1..=members).map(|node| (NodeId(node), member(node))));
    state.config = ClusterConfig { partitions, ..ClusterConfig::default() };
    state.table = Table::empty(partitions);
    let goals = Proposal::of(&state).goal.partitions;
    for (number, (assignment, goal)) in state.table.partitions.iter_mut().zip(goals).enumerate() {
        let replica =
            |(place, node)| Replica { id: ReplicaId((1000 + 10 * number + place) as u64), node };
        let replicas = goal.nodes.into_iter().enumerate().map(replica).collect();
        *assignment = Assignment { replicas, preferred: goal.preferred };
    }
    assert_eq!(Proposal::of(&state).steps, []);
    state
}

fn member(state: &mut State, node: u64) -> &mut Member {
    state.members.get_mut(&NodeId(node)).unwrap()
}

#[test]
fn what_a_dead_node_holds_goes_to_others() {
    let mut state = settled(4, 16);
    let held = state.table.replicas_on(NodeId(2));
    member(&mut state, 2).dead = true;
    let steps = Proposal::of(&state).steps;
    assert_eq!(steps.len(), held);
    assert!(steps.iter().all(|step| step.remove == Some(NodeId(2)) && step.add.is_some()));
}

#[test]
fn a_death_makes_no_group_smaller_and_a_leave_does() {
    let mut state = settled(3, 16);
    member(&mut state, 2).dead = true;
    assert_eq!(Proposal::of(&state).steps, [], "nobody else could hold it");
    member(&mut state, 2).dead = false;
    member(&mut state, 2).leaving = true;
    let steps = Proposal::of(&state).steps;
    assert_eq!(steps.len(), 16);
    assert!(steps.iter().all(|step| step.remove == Some(NodeId(2)) && step.add.is_none()));
    // Of a dead one and one that leaves, the one that leaves goes.
    let mut state = settled(4, 16);
    member(&mut state, 1).dead = true;
    member(&mut state, 2).leaving = true;
    let proposal = Proposal::of(&state);
    let shrinks = proposal.steps.iter().filter(|step| step.add.is_none());
    for step in shrinks {
        let held = &proposal.current[usize::from(step.partition.0)];
        assert!(held.len() > 3, "{step:?} of {held:?}");
    }
}

#[test]
fn what_is_removed_is_replaced() {
    let mut state = settled(4, 16);
    let held = state.table.replicas_on(NodeId(3));
    state.members.remove(&NodeId(3));
    assert_eq!(Proposal::of(&state).steps.len(), held);
    let mut state = settled(3, 16);
    state.members.remove(&NodeId(3));
    let steps = Proposal::of(&state).steps;
    assert_eq!(steps.len(), 16);
    assert!(steps.iter().all(|step| step.add.is_none()), "two members hold two replicas each");
}

#[test]
fn now_and_then_add_up() {
    let mut state = settled(3, 16);
    let newcomer = Member { node: NodeId(9), ..state.members[&NodeId(1)].clone() };
    state.members.insert(NodeId(9), newcomer);
    let proposal = Proposal::of(&state);
    let (now, then) = (proposal.now(), proposal.then());
    assert_eq!(now.values().sum::<usize>(), 48);
    assert_eq!(then.values().sum::<usize>(), 48);
    assert_eq!(then[&NodeId(9)], proposal.steps.len());
    assert!(then.values().all(|held| (11..=13).contains(held)), "{then:?}");
}

#[test]
fn a_node_takes_a_few_at_a_time_and_no_more_than_it_has_room_for() {
    let mut state = settled(3, 16);
    let change = Retune { moves_per_node: Some(2), ..Retune::default() };
    state.tuning = state.tuning.changed(&change).unwrap();
    let sizes: BTreeMap<PartitionId, u64> = (0..16).map(|p| (PartitionId(p), 100)).collect();
    let p = PartitionId;
    let rooms = BTreeMap::from([(NodeId(1), None), (NodeId(2), Some(250)), (NodeId(3), Some(100))]);
    let all = (1..=3).map(NodeId).collect();
    let mut berths = Berths::new(&state, &all, &rooms, sizes.clone());
    assert!(berths.take(NodeId(1), p(0)) && berths.take(NodeId(1), p(1)));
    assert!(!berths.take(NodeId(1), p(2)), "two at a time");
    assert!(berths.take(NodeId(2), p(0)));
    assert!(!berths.take(NodeId(3), p(0)), "it would be full");
    assert!(!berths.take(NodeId(4), p(0)), "it cannot be reached");
    // What is under way counts.
    let add = Some(Replica { id: ReplicaId(7), node: NodeId(2) });
    let step = crate::metadata::Move { add, remove: None, lost: false };
    state.moves.insert(p(5), step);
    let mut berths = Berths::new(&state, &all, &rooms, sizes.clone());
    assert!(berths.take(NodeId(2), p(0)));
    assert!(!berths.take(NodeId(2), p(1)));
    // But not if it cannot arrive.
    let few = BTreeSet::from([NodeId(2)]);
    assert!(decides(&state, p(5), &all) && !decides(&state, p(5), &few));
    let mut berths = Berths::new(&state, &few, &rooms, sizes);
    assert!(berths.take(NodeId(2), p(0)) && berths.take(NodeId(2), p(1)));
}

#[test]
fn many_do_not_die_at_once() {
    let mut state = settled(5, 16);
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    let both = nodes(&[1, 2]);
    assert_eq!(deaths(&state, &both, &nodes(&[1])), (vec![NodeId(1)], false));
    let three = nodes(&[1, 2, 3]);
    assert_eq!(deaths(&state, &three, &nodes(&[1])), (vec![], true), "three of five");
    assert_eq!(deaths(&state, &three, &nodes(&[])), (vec![], false), "none is overdue");
    // One that is dead already is none of those that went silent now.
    member(&mut state, 1).dead = true;
    assert_eq!(deaths(&state, &nodes(&[1, 2]), &nodes(&[1, 2])), (vec![NodeId(2)], false));
    assert_eq!(deaths(&state, &nodes(&[1, 2, 3]), &nodes(&[2])), (vec![], true), "two of four");
}
