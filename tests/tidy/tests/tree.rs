//! Applies every rule to every file of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files that are tracked or about to be: git's list, less what it ignores. Where there is no
/// git (an unpacked archive), every file outside the folders that hold results.
fn files() -> std::io::Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    if let Ok(output) = listed
        && output.status.success()
    {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect());
    }
    let results = ["target", "dist", "data", ".venv", ".git", "__pycache__"];
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = entry.path();
            if kind.is_file() {
                let inside = path.strip_prefix(root()).unwrap_or(&path);
                found.push(inside.to_string_lossy().into_owned());
            } else if kind.is_dir() && !results.iter().any(|name| entry.file_name() == *name) {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

#[test]
fn the_tree_is_tidy() {
    let mut seen = 0;
    let mut violations = Vec::new();
    for path in files().unwrap() {
        // A file that is not text, or was deleted a moment ago, breaks no rule.
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        seen += 1;
        for found in tidy::check(&path, &text) {
            violations.push(format!("{}:{}: {}", found.path, found.line, found.message));
        }
    }
    assert!(seen > 20, "only {seen} files seen: the list of files is broken");
    assert!(violations.is_empty(), "{} violations\n{}", violations.len(), violations.join("\n"));
}
