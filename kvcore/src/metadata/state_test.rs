use super::*;

pub(in crate::metadata) fn member(node: u64) -> NewMember {
    NewMember {
        node: NodeId(node),
        address: format!("127.0.0.1:{node}"),
        zone: None,
        weight_milli: 1000,
    }
}

pub(in crate::metadata) fn founded() -> State {
    let mut state = State::default();
    let config = ClusterConfig { partitions: 4, ..ClusterConfig::default() };
    let decision =
        state.change(Change::Found { cluster: ClusterId(7), config, founder: member(1) });
    assert_eq!(decision, Decision::Done);
    state
}

pub(in crate::metadata) fn join(state: &mut State, node: u64) -> ReplicaId {
    match state.change(Change::Join { member: member(node), replaces: None }) {
        Decision::Joined { metadata } => metadata,
        other => panic!("{other:?}"),
    }
}

pub(in crate::metadata) fn is_refused(decision: Decision, kind: Kind) -> bool {
    matches!(decision, Decision::Refused { code, .. } if code == kind.code())
}

pub(in crate::metadata) const P: PartitionId = PartitionId(2);

#[test]
fn the_founder_holds_everything() {
    let state = founded();
    assert_eq!(state.epoch(), Epoch(1));
    for (_, assignment) in state.table.iter() {
        assert_eq!(assignment.replicas.len(), 1);
        assert_eq!(assignment.preferred, Some(NodeId(1)));
    }
    assert!(state.hosted(P, NodeId(1)).is_some());
}

#[test]
fn a_cluster_is_founded_once() {
    let mut state = founded();
    let config = ClusterConfig::default();
    let again = Change::Found { cluster: ClusterId(8), config, founder: member(2) };
    assert!(is_refused(state.change(again), Kind::WrongCluster));
    assert_eq!(state.cluster, ClusterId(7));
}

#[test]
fn a_move_begins_and_is_committed_once() {
    let mut state = founded();
    join(&mut state, 2);
    let begin = Change::BeginMove { partition: P, add: Some(NodeId(2)), remove: None };
    assert_eq!(state.change(begin.clone()), Decision::Done);
    assert!(is_refused(state.change(begin), Kind::Unavailable));
    let step = state.moves[&P];
    assert_eq!(state.hosted(P, NodeId(2)), step.add.map(|replica| replica.id));
    assert_eq!(state.destined(P).len(), 2);
    let commit = Change::CommitMove { partition: P, step };
    assert_eq!(state.change(commit.clone()), Decision::Done);
    let after = state.clone();
    assert_eq!(state.change(commit), Decision::Done);
    assert_eq!(state, after);
    assert_eq!(state.table.assignment(P).unwrap().replicas.len(), 2);
    assert!(state.moves.is_empty());
}

#[test]
fn replica_ids_are_never_used_again() {
    let mut state = founded();
    join(&mut state, 2);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let add = Change::BeginMove { partition: P, add: Some(NodeId(2)), remove: None };
        assert_eq!(state.change(add), Decision::Done);
        let step = state.moves[&P];
        assert!(seen.insert(step.add.unwrap().id));
        state.change(Change::CommitMove { partition: P, step });
        let remove = Change::BeginMove { partition: P, add: None, remove: step.add.map(|r| r.id) };
        assert_eq!(state.change(remove), Decision::Done);
        let step = state.moves[&P];
        state.change(Change::CommitMove { partition: P, step });
        assert_eq!(state.hosted(P, NodeId(2)), None);
    }
}

#[test]
fn only_a_replica_that_has_left_is_retired() {
    let mut state = founded();
    join(&mut state, 2);
    let older = state.clone();
    state.change(Change::BeginMove { partition: P, add: Some(NodeId(2)), remove: None });
    let step = state.moves[&P];
    let coming = step.add.unwrap().id;
    assert!(!state.retired(P, NodeId(2), coming));
    assert!(!older.retired(P, NodeId(2), coming), "an old map must not retire what is to come");
    state.change(Change::CommitMove { partition: P, step });
    assert!(!state.retired(P, NodeId(2), coming));
    state.change(Change::BeginMove { partition: P, add: None, remove: Some(coming) });
    let step = state.moves[&P];
    state.change(Change::CommitMove { partition: P, step });
    assert!(state.retired(P, NodeId(2), coming));
}

#[test]
fn moves_that_make_no_sense_are_refused() {
    let mut state = founded();
    join(&mut state, 2);
    let only = state.table.assignment(P).unwrap().replicas[0].id;
    let refusals = [
        (None, None, Kind::InvalidArgument),
        (None, Some(only), Kind::InvalidArgument),
        (Some(NodeId(9)), None, Kind::NotFound),
        (Some(NodeId(1)), None, Kind::InvalidArgument),
        (Some(NodeId(2)), Some(ReplicaId(999)), Kind::NotFound),
    ];
    for (add, remove, kind) in refusals {
        let before = state.clone();
        assert!(is_refused(state.change(Change::BeginMove { partition: P, add, remove }), kind));
        assert_eq!(state, before);
    }
}

#[test]
fn a_move_can_be_given_up_and_a_map_confirmed() {
    let mut state = founded();
    join(&mut state, 2);
    state.change(Change::BeginMove { partition: P, add: Some(NodeId(2)), remove: None });
    let step = state.moves[&P];
    let confirm = |state: &State| Change::Confirm {
        partition: P,
        step: state.moves.get(&P).copied(),
        destined: state.destined(P),
    };
    let older = confirm(&state);
    let epoch = state.epoch();
    assert_eq!(state.change(older.clone()), Decision::Done);
    assert_eq!(state.epoch(), epoch);
    assert_eq!(state.change(Change::AbortMove { partition: P, step }), Decision::Done);
    assert!(state.moves.is_empty());
    assert!(is_refused(state.change(older), Kind::Unavailable));
    assert_eq!(state.change(confirm(&state.clone())), Decision::Done);
    // Given up once: a second time it changes nothing, not even another move.
    state.change(Change::BeginMove { partition: P, add: Some(NodeId(2)), remove: None });
    state.change(Change::AbortMove { partition: P, step });
    assert_eq!(state.moves.len(), 1);
}

#[test]
fn preference_follows_the_replica() {
    let mut state = founded();
    join(&mut state, 2);
    let old = state.table.assignment(P).unwrap().replicas[0];
    assert!(is_refused(
        state.change(Change::Prefer { partition: P, node: NodeId(2) }),
        Kind::NotFound
    ));
    let swap = Change::BeginMove { partition: P, add: Some(NodeId(2)), remove: Some(old.id) };
    state.change(swap);
    let step = state.moves[&P];
    state.change(Change::CommitMove { partition: P, step });
    assert_eq!(state.table.assignment(P).unwrap().preferred, Some(NodeId(2)));
}

/// A node joins, and gets a replica of the partition.
pub(in crate::metadata) fn add(state: &mut State, node: u64) {
    join(state, node);
    state.change(Change::BeginMove { partition: P, add: Some(NodeId(node)), remove: None });
    let step = state.moves[&P];
    state.change(Change::CommitMove { partition: P, step });
}

/// Three replicas of the partition, on nodes 1, 2 and 3.
pub(in crate::metadata) fn tripled() -> State {
    let mut state = doubled();
    add(&mut state, 3);
    state
}

/// Two replicas of the partition, on nodes 1 and 2.
fn doubled() -> State {
    let mut state = founded();
    add(&mut state, 2);
    state
}

#[test]
fn a_damaged_replica_is_replaced_on_its_node_under_a_new_id() {
    let mut state = tripled();
    let damaged = state.hosted(P, NodeId(2)).unwrap();
    let replace = |replica| Change::Replace { partition: P, replica };
    assert_eq!(state.change(replace(damaged)), Decision::Done);
    let coming = state.hosted(P, NodeId(2)).unwrap();
    assert_ne!(coming, damaged);
    assert!(state.retired(P, NodeId(2), damaged), "its log and state go at once");
    assert_eq!(state.destined(P).len(), 3);
    assert!(is_refused(state.change(replace(damaged)), Kind::Unavailable));
    // There is no way back to it, and one that is damaged in its turn is replaced again.
    let step = state.moves[&P];
    let abort = Change::AbortMove { partition: P, step };
    assert!(is_refused(state.change(abort), Kind::InvalidArgument));
    assert_eq!(state.change(replace(coming)), Decision::Done);
    let step = state.moves[&P];
    assert_eq!(step.remove.map(|replica| replica.id), Some(damaged));
    assert!(step.add.is_some_and(|add| add.id != coming && add.node == NodeId(2)));
    assert_eq!(state.change(Change::CommitMove { partition: P, step }), Decision::Done);
    let placed = &state.table.assignment(P).unwrap().replicas;
    assert_eq!(placed.len(), 3);
    assert!(placed.iter().all(|replica| replica.id != damaged && replica.id != coming));
    // Asked again, since the answer was lost.
    let after = state.clone();
    assert_eq!(state.change(replace(damaged)), Decision::Done);
    assert_eq!(state, after);
}

#[test]
fn what_too_few_others_have_is_not_thrown_away() {
    for mut state in [founded(), doubled()] {
        let damaged = state.hosted(P, NodeId(1)).unwrap();
        let before = state.clone();
        let replace = Change::Replace { partition: P, replica: damaged };
        assert!(is_refused(state.change(replace), Kind::InvalidArgument));
        assert_eq!(state, before);
    }
}
