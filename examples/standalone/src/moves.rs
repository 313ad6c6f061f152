//! The moves under way, as people see them.

use kvcore::api::MoveStatus;

use crate::draw;

/// How many moves are under way, and how far they are.
pub fn headline(moves: &[MoveStatus]) -> String {
    let sent = match sum(moves) {
        (0, 0) => String::new(),
        _ => format!(", {} sent", sent(moves)),
    };
    match moves.len() {
        0 => "no moves under way\n".into(),
        1 => format!("1 move under way{sent}\n"),
        count => format!("{count} moves under way{sent}\n"),
    }
}

/// The moves with a progress bar each, then one for all of them; nothing if there are none.
pub fn table(moves: &[MoveStatus], columns: usize) -> String {
    if moves.is_empty() {
        return String::new();
    }
    let row = |name: String, from: &str, to: &str, moves: &[MoveStatus]| {
        [name, from.to_owned(), to.to_owned(), sent(moves)]
    };
    let end = |end: &Option<String>| end.clone().unwrap_or_else(|| "-".into());
    let each = moves.iter().map(|one| {
        let name = one.partition.to_string();
        row(name, &end(&one.from), &end(&one.to), std::slice::from_ref(one))
    });
    let rows = each.chain(std::iter::once(row("all".into(), "", "", moves)));
    let lines: Vec<_> = draw::lines(["PARTITION", "FROM", "TO", "SENT"], rows).collect();
    let taken = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let room = draw::room(columns, taken + 2);
    let sums = moves.iter().map(|one| sum(std::slice::from_ref(one)));
    let bars = sums
        .chain(std::iter::once(sum(moves)))
        .map(|(sent, bytes)| draw::progress(sent, bytes, room));
    let bars = std::iter::once(String::new()).chain(bars);
    let lines = lines.iter().zip(bars);
    lines
        .map(|(line, bar)| (draw::pad(line, taken) + "  " + &bar).trim_end().to_owned() + "\n")
        .collect()
}

/// What has been sent, and of how much.
fn sum(moves: &[MoveStatus]) -> (u64, u64) {
    let sent = moves.iter().map(|one| one.sent).fold(0, u64::saturating_add);
    let bytes = moves.iter().map(|one| one.bytes).fold(0, u64::saturating_add);
    (sent, bytes)
}

fn sent(moves: &[MoveStatus]) -> String {
    let (sent, bytes) = sum(moves);
    match (sent, bytes) {
        // The leader that knows the size is not known; or there is nothing in the partition.
        (0, 0) => "-".into(),
        (sent, bytes) => format!("{} of {}", draw::bytes(sent), draw::bytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn moves() -> [MoveStatus; 3] {
        let (a, b) = (Some("00abcdef01234567".to_owned()), Some("fedcba9876543210".to_owned()));
        [
            MoveStatus {
                partition: 7,
                from: a.clone(),
                to: b.clone(),
                bytes: 8 * MIB,
                sent: 6 * MIB,
            },
            MoveStatus { partition: 19, from: None, to: b, bytes: 2 * MIB, sent: 0 },
            MoveStatus { partition: 300, from: a, to: None, bytes: 0, sent: 0 },
        ]
    }

    #[test]
    fn each_move_has_its_bar_and_all_have_one() {
        assert_eq!(
            table(&moves(), 80),
            "PARTITION  FROM              TO                SENT\n\
             7          00abcdef01234567  fedcba9876543210  6.0 MiB of 8.0 MiB   █████████░░░\n\
             19         -                 fedcba9876543210  0 B of 2.0 MiB       ░░░░░░░░░░░░\n\
             300        00abcdef01234567  -                 -                    ░░░░░░░░░░░░\n\
             all                                            6.0 MiB of 10.0 MiB  ███████▏░░░░\n"
        );
        let wide = table(&moves(), 200);
        let last = wide.lines().last().unwrap();
        assert!(last.ends_with(&("█".repeat(24) + &"░".repeat(16))), "{last}");
        assert_eq!(table(&[], 80), "");
    }

    #[test]
    fn a_headline_says_how_far_all_is() {
        assert_eq!(headline(&moves()), "3 moves under way, 6.0 MiB of 10.0 MiB sent\n");
        assert_eq!(headline(&moves()[..1]), "1 move under way, 6.0 MiB of 8.0 MiB sent\n");
        assert_eq!(headline(&moves()[2..]), "1 move under way\n");
        assert_eq!(headline(&[]), "no moves under way\n");
    }
}
