//! The shape of files: names that say something, sizes a reader can hold, docs at the door.

use crate::source::File;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "manager", "misc", "util", "utilities", "utils"];

/// The most lines a file has without its tests.
const MAX_LINES: usize = 500;

/// The fewest lines of story at the head of a folder's `mod.rs`.
const MIN_STORY: usize = 5;

/// Files of code, to which the size limit applies.
const CODE: &[&str] = &[".rs", ".py", ".c", ".hpp", ".sh", ".kt", ".swift"];

/// Words of the place where this was made, which mean nothing to whoever reads it elsewhere.
const WORKPLACE: &[&str] =
    &["DESIGN.md", "FINDINGS", "BRIEF.md", "issue #", "/work/", "/farm/", "session transcript"];

/// No file or folder has a name that would fit any content.
pub fn telling_name(file: &File) -> Vec<(usize, String)> {
    let names = file.folders().chain([file.stem()]);
    names
        .filter(|name| EMPTY_NAMES.contains(&name.to_ascii_lowercase().as_str()))
        .map(|name| (1, format!("`{name}` says nothing: name the noun that is inside")))
        .collect()
}

/// A file has at most 500 lines without its tests.
pub fn bounded_size(file: &File) -> Vec<(usize, String)> {
    if file.is_test() || !CODE.iter().any(|ending| file.path().ends_with(ending)) {
        return Vec::new();
    }
    let tests = if file.is_rust() { file.test_lines() } else { 0 };
    let lines = file.text().lines().count().saturating_sub(tests);
    if lines <= MAX_LINES {
        return Vec::new();
    }
    vec![(
        1,
        format!("{lines} lines without tests, at most {MAX_LINES}: which second noun is in here?"),
    )]
}

/// Each folder of the core tells its story in the doc of its `mod.rs`.
pub fn folder_tells_its_story(file: &File) -> Vec<(usize, String)> {
    if !file.path().starts_with("kvcore/src/") || !file.path().ends_with("/mod.rs") {
        return Vec::new();
    }
    let story = file.text().lines().take_while(|line| line.starts_with("//!")).count();
    if story >= MIN_STORY {
        return Vec::new();
    }
    vec![(
        1,
        format!(
            "a folder's mod.rs begins with its story, {MIN_STORY} lines of `//!` or more; here {story}"
        ),
    )]
}

/// Each Rust file says at its head what it is. A `_test.rs` file is told about by its neighbour.
pub fn begins_with_docs(file: &File) -> Vec<(usize, String)> {
    if !file.is_rust() || file.stem().ends_with("_test") || file.text().starts_with("//!") {
        return Vec::new();
    }
    vec![(1, "a file begins with a `//!` line that says what it is".to_owned())]
}

/// Nothing points to papers or places that a reader does not have.
pub fn no_trace_of_the_workplace(file: &File) -> Vec<(usize, String)> {
    if file.path().starts_with("tests/tidy/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, text) in file.text().lines().enumerate() {
        for word in WORKPLACE.iter().filter(|word| text.contains(**word)) {
            found.push((line + 1, format!("`{word}` means nothing to a reader elsewhere")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_seen_in_files_and_folders() {
        let count = |path| telling_name(&File::new(path, "")).len();
        assert_eq!(count("kvcore/src/common/mod.rs"), 1);
        assert_eq!(count("python/distkv/helpers.py"), 1);
        assert_eq!(count("kvcore/src/node/Manager.rs"), 1);
        assert_eq!(count("kvcore/src/node/commonly.rs"), 0);
    }

    #[test]
    fn size_counts_what_is_not_test() {
        let count = |path: &str, text: &str| bounded_size(&File::new(path, text)).len();
        let long = "x;\n".repeat(400);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(count("a.rs", &format!("{long}{tests}")), 0);
        assert_eq!(count("a.rs", &format!("{long}{long}")), 1);
        assert_eq!(count("a.rs", &"// comment\n".repeat(501)), 1);
        assert_eq!(count("a_test.rs", &format!("{long}{long}")), 0);
        assert_eq!(count("a.py", &format!("{long}{long}")), 1);
        assert_eq!(count("a.md", &format!("{long}{long}")), 0);
    }

    #[test]
    fn docs_are_missed() {
        let story = |text| folder_tells_its_story(&File::new("kvcore/src/wal/mod.rs", text)).len();
        assert_eq!(story("//! 1\n//! 2\n//! 3\n//! 4\nuse x;\n//! 5\n"), 1);
        assert_eq!(story("//! 1\n//! 2\n//!\n//! 4\n//! 5\n"), 0);
        assert_eq!(begins_with_docs(&File::new("a.rs", "\n//! late\n")).len(), 1);
        assert_eq!(begins_with_docs(&File::new("a_test.rs", "use x;")).len(), 0);
        assert_eq!(begins_with_docs(&File::new("a.py", "import x")).len(), 0);
    }

    #[test]
    fn the_workplace_is_seen_in_any_kind_of_file() {
        let lines = |path, text| -> Vec<usize> {
            no_trace_of_the_workplace(&File::new(path, text))
                .iter()
                .map(|(line, _)| *line)
                .collect()
        };
        assert_eq!(lines("docs/a.md", "fine\nsee DESIGN.md\nissue #12 in /work/x\n"), [2, 3, 3]);
        assert_eq!(lines("kvcore/src/wal/a.rs", "// as FINDINGS says"), [1]);
        assert_eq!(
            lines("docs/a.md", "a network/worker, a known issue, the design"),
            Vec::<usize>::new()
        );
    }
}
