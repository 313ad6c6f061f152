//! The committed header against what it must say.
#![allow(clippy::unwrap_used, reason = "a test may end so, and its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kvcore::api::Kind;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// `InvalidArgument` becomes `DISTKV_INVALID_ARGUMENT`.
fn constant(kind: &str) -> String {
    let mut name = String::from("DISTKV");
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[test]
fn error_codes_are_those_of_the_core() {
    let header = read("../../include/distkv.h");
    let defined: BTreeSet<(String, u32)> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .filter(|(name, _)| name != "DISTKV_API_VERSION")
        .collect();
    let mut expected: BTreeSet<_> =
        Kind::ALL.iter().map(|kind| (constant(kind.name()), kind.code())).collect();
    expected.insert(("DISTKV_OK".into(), 0));
    assert_eq!(defined, expected);
}

#[test]
fn what_the_header_declares_is_what_the_library_exports() {
    // Declarations are what is left without comments and macros.
    let header = read("../../include/distkv.h").replace("\\\n", "");
    let code: Vec<&str> = header
        .split("/**")
        .map(|part| part.split_once("*/").map_or(part, |(_comment, code)| code))
        .flat_map(str::lines)
        .filter(|line| !line.starts_with('#'))
        .collect();
    let declared: BTreeSet<&str> = code
        .iter()
        .filter_map(|line| line.split_once('('))
        .filter_map(|(before, _)| before.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("distkv_"))
        .collect();
    let symbols = read("symbols.txt");
    let listed: BTreeSet<&str> = symbols.lines().collect();
    assert_eq!(declared, listed);
}
