//! Unsafe code stays behind its fence.

use std::fs;
use std::path::Path;

/// The files that may follow raw pointers or call C.
const FENCED: [&str; 3] = ["bytes.rs", "guard.rs", "handles.rs"];

/// Exports elsewhere need one attribute that counts as unsafe, and the lint cannot tell it from the
/// rest.
#[test]
fn outside_the_fence_only_exports_are_unsafe() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut exports = 0;
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if FENCED.contains(&name.as_str()) || name.ends_with("_test.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (at, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default().trim();
            if code == "#[unsafe(no_mangle)]" {
                exports += 1;
                continue;
            }
            let uses = code.replace("unsafe_code", "");
            assert!(!uses.contains("unsafe"), "{name}:{}: {line}", at + 1);
        }
    }
    assert!(exports > 10, "found only {exports} exports: is this looking at the right files?");
}
