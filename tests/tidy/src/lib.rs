//! The laws of this repository that no compiler checks.
//!
//! Each law is a [`Rule`]: a name and a function from one file to what is wrong in it. The rules
//! stand in files by subject: [`crates`] (which third-party crate may be named where), [`floors`]
//! (who may import whom), [`fences`] (unsafe code, clocks, runtimes) and [`shape`] (names, sizes,
//! docs). [`source`] is the small lexer under them, which tells code from comments, text and tests.
//!
//! `tests/tree.rs` applies them all to the repository. A law is changed here and in the review that
//! goes with it, never by an exception in the place that breaks it.

pub mod crates;
pub mod fences;
pub mod floors;
pub mod shape;
pub mod source;

use source::File;

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file, relative to the root of the repository.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what to do about it.
    pub message: String,
}

/// A law: its name, and the function that finds what breaks it in one file.
#[derive(Clone, Copy)]
pub struct Rule {
    /// A short name, as printed before each violation.
    pub name: &'static str,
    /// What is wrong in a file: lines (from 1) and messages.
    pub check: fn(&File) -> Vec<(usize, String)>,
}

impl Rule {
    /// The violations of this rule in one file.
    pub fn violations(&self, file: &File) -> Vec<Violation> {
        (self.check)(file)
            .into_iter()
            .map(|(line, message)| Violation {
                path: file.path().to_owned(),
                line,
                message: format!("{}: {message}", self.name),
            })
            .collect()
    }
}

/// All rules, in the order in which they are applied.
pub const RULES: &[Rule] = &[
    Rule { name: "crate-in-its-floor", check: crates::in_their_floor },
    Rule { name: "bindings-use-the-api", check: crates::bindings_use_the_api },
    Rule { name: "floors", check: floors::import_only_below },
    Rule { name: "pure", check: fences::no_runtime_and_no_clock },
    Rule { name: "unsafe-is-fenced", check: fences::unsafe_only_in_fences },
    Rule { name: "file-name", check: shape::telling_name },
    Rule { name: "file-size", check: shape::bounded_size },
    Rule { name: "folder-story", check: shape::folder_tells_its_story },
    Rule { name: "file-doc", check: shape::begins_with_docs },
    Rule { name: "no-workplace", check: shape::no_trace_of_the_workplace },
];

/// Every violation of every rule in a file.
pub fn check(path: &str, text: &str) -> Vec<Violation> {
    let file = File::new(path, text);
    RULES.iter().flat_map(|rule| rule.violations(&file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies one rule by name, as lines.
    fn lines(rule: &str, path: &str, text: &str) -> Vec<usize> {
        let rule = RULES.iter().find(|candidate| candidate.name == rule).unwrap();
        rule.violations(&File::new(path, text)).iter().map(|found| found.line).collect()
    }

    #[test]
    fn a_violation_names_its_rule_file_and_line() {
        let found =
            check("kvcore/src/wal/mod.rs", "//! a\n//! b\n//! c\n//! d\n//! e\nuse rocksdb::DB;\n");
        assert_eq!(found.len(), 1, "{found:?}");
        let violation = &found[0];
        assert_eq!((violation.path.as_str(), violation.line), ("kvcore/src/wal/mod.rs", 6));
        assert!(violation.message.starts_with("crate-in-its-floor: `rocksdb`"), "{violation:?}");
    }

    /// One bad and one good example for each rule: no rule is there that cannot fail.
    #[test]
    fn each_rule_catches_its_bad_example_and_passes_its_good_one() {
        let long = "x\n".repeat(501);
        let fine = "x\n".repeat(500);
        let examples: &[(&str, &str, &str, &str, &str)] = &[
            (
                "crate-in-its-floor",
                "kvcore/src/node/a.rs",
                "use openraft::Raft;",
                "kvcore/src/raft/a.rs",
                "use openraft::Raft;",
            ),
            (
                "bindings-use-the-api",
                "bindings/c/src/a.rs",
                "use kvcore::node::Node;",
                "bindings/c/src/a.rs",
                "use kvcore::api::Node;",
            ),
            (
                "floors",
                "kvcore/src/wal/a.rs",
                "use crate::engine::Engine;",
                "kvcore/src/wal/a.rs",
                "use crate::types::Error;",
            ),
            (
                "pure",
                "kvcore/src/placement/a.rs",
                "let now = Instant::now();",
                "kvcore/src/node/a.rs",
                "let now = Instant::now();",
            ),
            (
                "unsafe-is-fenced",
                "kvcore/src/wal/a.rs",
                "unsafe { go() }",
                "kvcore/src/api/fork.rs",
                "unsafe { go() }",
            ),
            ("file-name", "kvcore/src/node/utils.rs", "", "kvcore/src/node/host.rs", ""),
            ("file-size", "kvcore/src/wal/a.rs", &long, "kvcore/src/wal/a.rs", &fine),
            (
                "folder-story",
                "kvcore/src/wal/mod.rs",
                "//! Short.\n",
                "kvcore/src/wal/mod.rs",
                "//! a\n//!\n//! b\n//! c\n//! d\n",
            ),
            (
                "file-doc",
                "kvcore/src/wal/a.rs",
                "use x;",
                "kvcore/src/wal/a.rs",
                "//! What this is.\n",
            ),
            (
                "no-workplace",
                "README.md",
                "see FINDINGS for why",
                "README.md",
                "see docs/adr for why",
            ),
        ];
        for (rule, bad_path, bad, good_path, good) in examples {
            assert_ne!(
                lines(rule, bad_path, bad),
                Vec::<usize>::new(),
                "{rule} misses its bad example"
            );
            assert_eq!(
                lines(rule, good_path, good),
                Vec::<usize>::new(),
                "{rule} blames its good example"
            );
        }
        let tried: Vec<&str> = examples.iter().map(|example| example.0).collect();
        let all: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(tried, all, "a rule without an example");
    }
}
