//! What is fenced in: unsafe code, and, for what must be the same on every replica, time and the
//! runtime.

use crate::source::File;

/// The files that exist to hold unsafe code, so that a reviewer reads these and no others for it.
const UNSAFE: &[&str] = &[
    "bindings/c/src/guard.rs",
    "bindings/c/src/handles.rs",
    "bindings/c/src/bytes.rs",
    "kvcore/src/api/fork.rs",
    "python/src/buffer.rs",
];

/// `unsafe` stands only in the fences. Exporting a symbol is unsafe too (it could clash with
/// another); the C binding exports by trade, so there the attribute is allowed. Tests may call what is
/// exported.
pub fn unsafe_only_in_fences(file: &File) -> Vec<(usize, String)> {
    if UNSAFE.contains(&file.path()) || file.is_test() {
        return Vec::new();
    }
    let exports = file.path().starts_with("bindings/c/src/");
    let tokens = file.tokens();
    let mut before = ["", ""];
    let mut found = Vec::new();
    for token in &tokens {
        if token.text == "unsafe" && !(exports && before == ["#", "["]) {
            found.push((token.line, format!("unsafe code stands only in {}", UNSAFE.join(", "))));
        }
        before = [before[1], token.text];
    }
    found
}

/// The pure floors, and every apply, know no runtime and read no clock: what they compute must come
/// out the same on every replica and in every run of a simulation.
pub fn no_runtime_and_no_clock(file: &File) -> Vec<(usize, String)> {
    let path = file.path();
    let pure = path.starts_with("kvcore/src/types/")
        || path.starts_with("kvcore/src/placement/")
        || (path.starts_with("kvcore/src/") && file.stem() == "apply")
        || (path.starts_with("kvcore/src/") && file.folders().any(|folder| folder == "apply"));
    if !pure || file.is_test() {
        return Vec::new();
    }
    let tokens = file.tokens();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let ahead = |steps: usize| tokens.get(at + steps).map_or("", |next| next.text);
        let breach = match token.text {
            "tokio" => Some("no runtime here: `tokio`"),
            "SystemTime" => Some("no clock here: `SystemTime`"),
            "Instant" if ahead(1) == "::" && ahead(2) == "now" => {
                Some("no clock here: `Instant::now`")
            }
            "elapsed" if ahead(1) == "(" => Some("no clock here: `elapsed` reads it"),
            _ => None,
        };
        if let Some(message) = breach {
            found.push((token.line, message.to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_seen_outside_its_fences() {
        let count = |path, text| unsafe_only_in_fences(&File::new(path, text)).len();
        assert_eq!(count("kvcore/src/wal/a.rs", "unsafe { x() }\nunsafe impl Send for X {}"), 2);
        assert_eq!(count("bindings/c/src/verbs.rs", "unsafe { x() }"), 1);
        assert_eq!(
            count("bindings/c/src/verbs.rs", "#[unsafe(no_mangle)]\npub extern \"C\" fn f() {}"),
            0
        );
        assert_eq!(count("kvcore/src/wal/a.rs", "#[unsafe(no_mangle)]"), 1);
        assert_eq!(count("bindings/c/src/guard.rs", "unsafe { x() }"), 0);
        assert_eq!(count("kvcore/src/wal/a.rs", "// unsafe\n#![deny(unsafe_code)]"), 0);
    }

    #[test]
    fn time_and_runtime_are_seen_in_pure_places() {
        let count = |path, text| no_runtime_and_no_clock(&File::new(path, text)).len();
        let text =
            "use tokio::time; let a = std::time::Instant::now(); SystemTime::now(); a.elapsed();";
        assert_eq!(count("kvcore/src/types/a.rs", text), 4);
        assert_eq!(count("kvcore/src/partition/apply.rs", text), 4);
        assert_eq!(count("kvcore/src/placement/ring/b.rs", text), 4);
        assert_eq!(count("kvcore/src/node/host.rs", text), 0);
        assert_eq!(count("kvcore/src/types/a.rs", "fn f(at: Instant) -> Duration {}"), 0);
        assert_eq!(count("kvcore/src/types/a_test.rs", text), 0);
    }
}
