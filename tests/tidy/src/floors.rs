//! Who may import whom inside the core: a floor names only floors below it, never its neighbour.
//!
//! Tests are free: they may furnish a floor with whatever they like.

use crate::crates::modules_after;
use crate::source::{File, Token};

/// The house, by height. A new floor gets its line here, or nothing in it passes.
const HEIGHTS: &[(&str, u8)] = &[
    ("types", 0),
    ("placement", 1),
    ("engine", 1),
    ("wal", 1),
    ("rpc", 2),
    ("raft", 3),
    ("client", 3),
    ("partition", 4),
    ("metadata", 4),
    ("node", 5),
    ("api", 6),
];

fn height(floor: &str) -> Option<u8> {
    HEIGHTS.iter().find(|(name, _)| *name == floor).map(|(_, height)| *height)
}

/// No import goes up or sideways.
pub fn import_only_below(file: &File) -> Vec<(usize, String)> {
    let Some(inside) = file.path().strip_prefix("kvcore/src/") else { return Vec::new() };
    if !file.is_rust() || inside == "lib.rs" || file.is_test() {
        return Vec::new();
    }
    let floor = inside.split(['/', '.']).next().unwrap_or_default();
    let Some(own) = height(floor) else {
        return vec![(
            1,
            format!("`{floor}` is not a floor of the house: see tests/tidy/src/floors.rs"),
        )];
    };
    let tokens = file.tokens();
    let depth = module_depth(inside);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some(rest) = root_of_path(&tokens, at, depth) else { continue };
        for (module, line) in modules_after(rest, token.line) {
            let Some(other) = height(module) else { continue };
            if module != floor && other >= own {
                let direction = if other == own { "its neighbour" } else { "a floor above it" };
                found.push((
                    line,
                    format!(
                        "`{floor}` (floor {own}) imports `{module}` (floor {other}), {direction}"
                    ),
                ));
            }
        }
    }
    found
}

/// How many modules deep a file is: 1 for `wal/mod.rs`, 2 for `wal/writer.rs`.
fn module_depth(inside: &str) -> usize {
    inside.split('/').count() - usize::from(inside.ends_with("mod.rs"))
}

/// If a path starts at this token and leads to the root of the crate (`crate`, or enough `super`s),
/// what follows the root.
fn root_of_path<'t, 's>(
    tokens: &'t [Token<'s>],
    at: usize,
    depth: usize,
) -> Option<&'t [Token<'s>]> {
    let before = at.checked_sub(1).and_then(|index| tokens.get(index));
    let starts = before.is_none_or(|token| token.text != "::");
    match tokens.get(at)?.text {
        "crate" => tokens.get(at + 1..),
        "super" if starts => {
            let rest = tokens.get(at..)?;
            let supers = rest.iter().step_by(2).take_while(|token| token.text == "super").count();
            if supers < depth {
                return None;
            }
            // Past the last `super`, at its `::`.
            rest.get(2 * supers - 1..)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        import_only_below(&File::new(path, text)).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn up_and_sideways_are_seen_in_every_form() {
        assert_eq!(lines("kvcore/src/types/a.rs", "use crate::wal::Wal;"), [1]);
        assert_eq!(lines("kvcore/src/wal/a.rs", "\nuse crate::engine;"), [2]);
        assert_eq!(
            lines(
                "kvcore/src/raft/a.rs",
                "use crate::{\n  types::Error,\n  client::{router, retry},\n  node,\n};"
            ),
            [3, 4]
        );
        assert_eq!(lines("kvcore/src/raft/a.rs", "fn f(x: crate::api::Node) {}"), [1]);
        assert_eq!(lines("kvcore/src/wal/a.rs", "use super::super::rpc::Peer;"), [1]);
        assert_eq!(lines("kvcore/src/wal/mod.rs", "use super::rpc::Peer;"), [1]);
        assert_eq!(lines("kvcore/src/types/config/node.rs", "use super::super::super::rpc;"), [1]);
        assert_eq!(lines("kvcore/src/wal/a.rs", "pub use crate::rpc::Peer;"), [1]);
        assert_eq!(lines("kvcore/src/wal/a.rs", "f(crate::node::port())"), [1]);
        assert_eq!(lines("kvcore/src/attic/a.rs", ""), [1]);
    }

    #[test]
    fn down_and_home_are_fine() {
        assert_eq!(lines("kvcore/src/api/a.rs", "use crate::{types, node::Host, raft};"), []);
        assert_eq!(
            lines(
                "kvcore/src/wal/a.rs",
                "use crate::wal::b; use super::c; pub(crate) fn raft() {} pub(in crate::wal) struct Node;"
            ),
            []
        );
        assert_eq!(
            lines("kvcore/src/types/config/node.rs", "use super::super::node; use super::cluster;"),
            []
        );
        assert_eq!(lines("kvcore/src/lib.rs", "pub use crate::api::Node;"), []);
    }

    #[test]
    fn tests_are_free() {
        assert_eq!(lines("kvcore/src/wal/a_test.rs", "use crate::node::Node;"), []);
        assert_eq!(
            lines("kvcore/src/wal/a.rs", "#[cfg(test)]\nmod tests { use crate::node::Node; }"),
            []
        );
    }
}
