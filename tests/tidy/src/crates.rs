//! Which crate may be named where: a third-party crate that shapes everything it touches is kept in
//! one floor, so that replacing it means rewriting that floor and nothing else.

use crate::source::{File, Token};

/// Crates with a home: their names in code, and where they may stand. Comparisons may name what we are
/// compared with.
const HOMES: &[(&[&str], &[&str])] = &[
    (&["openraft"], &["kvcore/src/raft/"]),
    (&["rocksdb", "librocksdb_sys"], &["kvcore/src/engine/rocks/", "tests/bench/"]),
    (&["tonic", "tonic_prost", "prost", "prost_types"], &["kvcore/src/rpc/"]),
];

/// What is built on the public interface alone.
const BINDINGS: &[&str] = &["bindings/", "python/", "examples/standalone/"];

/// The home's crate is named only at home, tests included: what a test needs of it, the floor offers.
pub fn in_their_floor(file: &File) -> Vec<(usize, String)> {
    let path = file.path();
    if path.ends_with("build.rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (names, homes) in HOMES {
        if homes.iter().any(|home| path.starts_with(home)) {
            continue;
        }
        for token in file.tokens_with_tests() {
            if names.contains(&token.text) {
                found.push((
                    token.line,
                    format!("`{}` may be named only inside {}", token.text, homes.join(", ")),
                ));
            }
        }
    }
    found
}

/// Bindings name nothing of the core but `kvcore::api`.
pub fn bindings_use_the_api(file: &File) -> Vec<(usize, String)> {
    if !BINDINGS.iter().any(|folder| file.path().starts_with(folder)) {
        return Vec::new();
    }
    let tokens = file.tokens();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.text != "kvcore" {
            continue;
        }
        for (name, line) in modules_after(tokens.get(at + 1..).unwrap_or_default(), token.line) {
            if name != "api" {
                found.push((line, format!("`kvcore::{name}`: bindings reach only `kvcore::api`")));
            }
        }
    }
    found
}

/// The modules that a path names right after its root: one for `root::a`, several for
/// `root::{a::x, b}`, and `self` for a root that is not followed by a path.
pub(crate) fn modules_after<'a>(tokens: &[Token<'a>], line: usize) -> Vec<(&'a str, usize)> {
    let mut tokens = tokens.iter();
    match tokens.next() {
        Some(colons) if colons.text == "::" => {}
        _ => return vec![("self", line)],
    }
    match tokens.next() {
        Some(brace) if brace.text == "{" => {}
        Some(name) => return vec![(name.text, name.line)],
        None => return Vec::new(),
    }
    let mut found = Vec::new();
    let mut depth = 1;
    let mut expected = true;
    for token in tokens {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," => expected |= depth == 1,
            _ if expected => {
                found.push((token.text, token.line));
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(path: &str, text: &str) -> usize {
        in_their_floor(&File::new(path, text)).len()
    }

    #[test]
    fn a_crate_stays_at_home() {
        assert_eq!(homes("kvcore/src/partition/apply.rs", "use openraft::Raft;"), 1);
        assert_eq!(homes("kvcore/src/engine/memory.rs", "fn f() -> rocksdb::DB {}"), 1);
        assert_eq!(homes("kvcore/src/node/handlers.rs", "use {tonic::Status, prost::Message};"), 2);
        assert_eq!(homes("examples/standalone/src/main.rs", "use tonic::Status;"), 1);
        assert_eq!(homes("kvcore/src/engine/rocks/mod.rs", "use rocksdb::DB;"), 0);
        assert_eq!(homes("kvcore/src/raft/group.rs", "use openraft::Raft;"), 0);
        assert_eq!(
            homes("kvcore/src/wal/a.rs", "#[cfg(test)] mod tests { use tonic::Status; }"),
            1
        );
        assert_eq!(homes("kvcore/build.rs", "tonic::x"), 0);
    }

    #[test]
    fn a_mention_is_not_a_use() {
        assert_eq!(
            homes("kvcore/src/wal/mod.rs", "//! openraft wants this.\nlet x = \"rocksdb\";"),
            0
        );
        assert_eq!(homes("kvcore/src/wal/mod.rs", "let rocksdb_like = 1;"), 0);
    }

    #[test]
    fn bindings_stay_at_the_door() {
        let count = |text| bindings_use_the_api(&File::new("python/src/lib.rs", text)).len();
        assert_eq!(count("use kvcore::api::{Node, Client};"), 0);
        assert_eq!(count("use kvcore::{api::Node, types::Error, node::x::{y, z}};"), 2);
        assert_eq!(count("use kvcore as core;"), 1);
        assert_eq!(count("let e: kvcore::types::Error = x;"), 1);
        assert_eq!(bindings_use_the_api(&File::new("tests/sim/a.rs", "use kvcore::raft;")), []);
    }
}
