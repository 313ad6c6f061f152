use super::*;
use crate::engine::{Engine, MemoryEngine};
use crate::types::{Mutation, PartitionId};

const GROUP: GroupId = GroupId::Partition(PartitionId(3));

fn command(sequence: u64, lowest: u64, not_after_ms: u64) -> Command {
    Command {
        session: SessionId(1),
        sequence,
        lowest_unanswered: lowest,
        not_after_ms,
        mutation: Mutation::Delete { key: Bytes::from_static(b"k"), if_revision: None },
    }
}

fn answer(revision: u64) -> Outcome {
    Outcome::Put { revision }
}

fn remembering(commands: &[(u64, u64, u64)]) -> (Sessions, Batch) {
    let mut sessions = Sessions::new(GROUP, 2);
    let mut batch = Batch::default();
    for (sequence, lowest, not_after_ms) in commands {
        let command = command(*sequence, *lowest, *not_after_ms);
        assert_eq!(sessions.judge(&command, 0), Verdict::Fresh);
        sessions.remember(&command, answer(*sequence), &mut batch).unwrap();
    }
    (sessions, batch)
}

#[test]
fn a_retry_gets_the_same_answer() {
    let (sessions, _) = remembering(&[(1, 1, 100)]);
    assert_eq!(sessions.judge(&command(1, 1, 100), 50), Verdict::Known(answer(1)));
}

#[test]
fn commands_may_arrive_out_of_order() {
    let (sessions, _) = remembering(&[(2, 1, 100), (1, 1, 100)]);
    assert_eq!(sessions.judge(&command(2, 1, 100), 50), Verdict::Known(answer(2)));
    assert_eq!(sessions.judge(&command(1, 1, 100), 50), Verdict::Known(answer(1)));
}

#[test]
fn what_the_session_has_is_forgotten_and_then_refused() {
    let (sessions, _) = remembering(&[(1, 1, 100), (2, 2, 100)]);
    assert_eq!(sessions.judge(&command(1, 1, 100), 50), Verdict::Refused(Kind::SessionExpired));
}

#[test]
fn a_late_arrival_is_refused_rather_than_applied_again() {
    let (mut sessions, mut batch) = remembering(&[(1, 1, 100)]);
    sessions.expire(101, &mut batch);
    assert_eq!(sessions.judge(&command(1, 1, 100), 101), Verdict::Refused(Kind::SessionExpired));
}

#[test]
fn a_full_table_refuses_new_sessions_only() {
    let (mut sessions, mut batch) = remembering(&[(1, 1, 100)]);
    let other = Command { session: SessionId(2), ..command(1, 1, 100) };
    sessions.remember(&other, answer(9), &mut batch).unwrap();
    let third = Command { session: SessionId(3), ..command(1, 1, 100) };
    assert_eq!(sessions.judge(&third, 0), Verdict::Refused(Kind::Overloaded));
    assert_eq!(sessions.judge(&command(2, 1, 100), 0), Verdict::Fresh);
    sessions.expire(101, &mut batch);
    assert_eq!(sessions.judge(&Command { not_after_ms: 200, ..third }, 101), Verdict::Fresh);
}

#[test]
fn a_restart_remembers_exactly_the_same() {
    // 5 has not arrived yet although 6 has: a replica that restarted must still take it as new.
    let (sessions, batch) = remembering(&[(4, 4, 100), (6, 5, 100)]);
    let engine = MemoryEngine::new(1 << 20);
    engine.write(&batch).unwrap();
    let mut restarted = Sessions::new(GROUP, 2);
    restarted.load(engine.view().unwrap().as_ref()).unwrap();
    for sequence in [4, 5, 6, 7] {
        let retry = command(sequence, 5, 100);
        assert_eq!(restarted.judge(&retry, 50), sessions.judge(&retry, 50), "{sequence}");
    }
    assert_eq!(restarted.judge(&command(5, 5, 100), 50), Verdict::Fresh);
}

#[test]
fn a_session_is_remembered_until_the_last_deadline_of_all_its_commands() {
    // A patient call, answered; then an ordinary one, answered as well.
    let patient = command(1, 1, 9_000);
    let (mut sessions, batch) = remembering(&[(1, 1, 9_000), (2, 2, 100)]);
    let engine = MemoryEngine::new(1 << 20);
    engine.write(&batch).unwrap();
    let mut restarted = Sessions::new(GROUP, 2);
    restarted.load(engine.view().unwrap().as_ref()).unwrap();
    for sessions in [&mut sessions, &mut restarted] {
        // The ordinary one's answer has expired when a copy of the first arrives at last.
        sessions.expire(101, &mut Batch::default());
        assert_eq!(sessions.judge(&patient, 101), Verdict::Refused(Kind::SessionExpired));
        sessions.expire(9_000, &mut Batch::default());
        assert_eq!(sessions.judge(&patient, 9_000), Verdict::Refused(Kind::SessionExpired));
    }
}

#[test]
fn nothing_is_left_of_a_session_that_is_over() {
    let (mut sessions, batch) = remembering(&[(1, 1, 300), (2, 2, 100), (3, 2, 200)]);
    let engine = MemoryEngine::new(1 << 20);
    engine.write(&batch).unwrap();
    let mut batch = Batch::default();
    sessions.expire(301, &mut batch);
    engine.write(&batch).unwrap();
    assert!(sessions.known.is_empty() && sessions.deadlines.is_empty());
    let range = keys::session_range(GROUP);
    let left = engine.view().unwrap().scan(Family::Meta, range, false, PAGE, usize::MAX).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_command_without_a_number_is_refused() {
    let (sessions, _) = remembering(&[(1, 1, 100)]);
    let nameless = command(HEADER, 1, 100);
    assert_eq!(sessions.judge(&nameless, 50), Verdict::Refused(Kind::InvalidArgument));
}
