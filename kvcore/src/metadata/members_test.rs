use super::*;
use crate::metadata::change::Change;
use crate::metadata::state::tests::{P, add, founded, is_refused, join, member, tripled};
use crate::types::config::Retune;

#[test]
fn joining_twice_gives_the_same_answer() {
    let mut state = founded();
    let first = join(&mut state, 2);
    let epoch = state.epoch();
    assert_eq!(join(&mut state, 2), first);
    assert_eq!(state.epoch(), epoch);
    assert_ne!(join(&mut state, 3), first);
}

#[test]
fn a_member_that_is_replaced_takes_its_moves_along() {
    let mut state = founded();
    join(&mut state, 2);
    state.change(Change::BeginMove { partition: P, add: Some(NodeId(2)), remove: None });
    let elsewhere = Change::Join { member: member(3), replaces: Some(NodeId(2)) };
    assert!(is_refused(state.change(elsewhere), Kind::Unavailable));
    let address = member(2).address;
    let newcomer = NewMember { address, ..member(3) };
    state.change(Change::Join { member: newcomer, replaces: Some(NodeId(2)) });
    assert!(!state.members.contains_key(&NodeId(2)));
    assert!(state.members.contains_key(&NodeId(3)));
    assert!(state.moves.is_empty());
    assert!(is_refused(
        state.change(Change::Join { member: member(2), replaces: None }),
        Kind::InvalidArgument
    ));
}

#[test]
fn who_leaves_gets_nothing_more_and_holds_what_it_has_until_it_is_moved() {
    let mut state = tripled();
    join(&mut state, 4);
    state.change(Change::BeginMove { partition: P, add: Some(NodeId(4)), remove: None });
    assert_eq!(state.change(Change::Leave { node: NodeId(4) }), Decision::Done);
    assert!(state.moves.is_empty(), "what was on its way to it does not arrive");
    let begin = Change::BeginMove { partition: P, add: Some(NodeId(4)), remove: None };
    assert!(is_refused(state.change(begin), Kind::NotFound));
    assert_eq!(state.change(Change::Leave { node: NodeId(3) }), Decision::Done);
    let epoch = state.epoch();
    assert_eq!(state.change(Change::Leave { node: NodeId(3) }), Decision::Done);
    assert_eq!(state.epoch(), epoch);
    assert_eq!(state.weighted().len(), 2);
    assert_eq!(state.replication_factor(), 2);
    assert!(state.hosted(P, NodeId(3)).is_some());
    assert!(is_refused(state.change(Change::Leave { node: NodeId(9) }), Kind::NotFound));
}

#[test]
fn the_last_who_stays_cannot_leave_or_be_removed() {
    let mut state = founded();
    assert!(is_refused(state.change(Change::Leave { node: NodeId(1) }), Kind::InvalidArgument));
    assert!(is_refused(state.change(Change::Remove { node: NodeId(1) }), Kind::InvalidArgument));
    join(&mut state, 2);
    assert_eq!(state.change(Change::Leave { node: NodeId(1) }), Decision::Done);
    assert!(is_refused(state.change(Change::Leave { node: NodeId(2) }), Kind::InvalidArgument));
}

#[test]
fn who_was_removed_never_comes_back() {
    let mut state = tripled();
    assert_eq!(state.change(Change::Remove { node: NodeId(2) }), Decision::Done);
    let after = state.clone();
    assert_eq!(state.change(Change::Remove { node: NodeId(2) }), Decision::Done);
    assert_eq!(state, after);
    assert!(!state.members.contains_key(&NodeId(2)));
    let back = Change::Join { member: member(2), replaces: None };
    assert!(is_refused(state.change(back), Kind::InvalidArgument));
    assert!(is_refused(state.change(Change::Remove { node: NodeId(9) }), Kind::NotFound));
    // What it held is replaced by and by.
    assert_eq!(state.table.assignment(P).unwrap().replicas.len(), 3);
    assert_eq!(state.sound(P), 2);
}

#[test]
fn a_death_makes_no_group_smaller() {
    let mut state = tripled();
    assert_eq!(state.change(Change::Mark { node: NodeId(2), dead: true }), Decision::Done);
    assert_eq!((state.replication_factor(), state.sound(P)), (3, 2));
    assert_eq!(state.weighted().len(), 2);
    let epoch = state.epoch();
    state.change(Change::Mark { node: NodeId(2), dead: true });
    assert_eq!(state.epoch(), epoch);
    state.change(Change::Mark { node: NodeId(2), dead: false });
    assert_eq!((state.sound(P), state.weighted().len()), (3, 3));
    add(&mut state, 4);
    assert_eq!(state.sound(P), 4);
}

#[test]
fn a_damaged_replica_on_a_node_that_dies_leaves_its_group() {
    let mut state = tripled();
    let damaged = state.hosted(P, NodeId(2)).unwrap();
    state.change(Change::Replace { partition: P, replica: damaged });
    assert_eq!(state.change(Change::Mark { node: NodeId(2), dead: true }), Decision::Done);
    let step = state.moves[&P];
    assert_eq!((step.add, step.remove.map(|replica| replica.id)), (None, Some(damaged)));
    assert_eq!(state.hosted(P, NodeId(2)), None, "not even for a moment");
    assert_eq!(state.change(Change::CommitMove { partition: P, step }), Decision::Done);
    assert_eq!(state.hosted(P, NodeId(2)), None, "it must not come back without what it promised");
    assert_eq!(state.sound(P), 2);
}

#[test]
fn what_may_be_tuned_is_checked() {
    let mut state = founded();
    let tune = |change| Change::Tune { change };
    let pause = Retune { paused: Some(true), ..Retune::default() };
    assert_eq!(state.change(tune(pause)), Decision::Done);
    assert!(state.tuning.paused);
    let epoch = state.epoch();
    assert_eq!(state.change(tune(pause)), Decision::Done);
    assert_eq!(state.epoch(), epoch);
    let bad = Retune { moves_per_node: Some(0), ..Retune::default() };
    assert!(is_refused(state.change(tune(bad)), Kind::InvalidArgument));
}
