//! The C header: generated from the C binding, committed, and compared in `make check`.
//!
//! It is committed because it is what a C programmer reads, and because a change of the ABI then
//! shows in the review of the change that makes it. It is generated here and not by a build script,
//! because a build that writes into the source tree cannot be trusted to leave it as it was.

use std::fs;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

const HEAD: &str = "\
/* distkv: a distributed, strongly consistent key-value store inside your process.
 *
 * Generated from bindings/c by `make header`; do not edit. */";

/// The crate that exports the ABI, and the header for it.
fn places(root: &Path) -> (PathBuf, PathBuf) {
    (root.join("bindings/c"), root.join("include/distkv.h"))
}

/// Writes the header, if it would change.
pub fn write(root: &Path) -> Result<(), String> {
    let (binding, header) = places(root);
    let wanted = generate(&binding)?;
    if fs::read_to_string(&header).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if let Some(folder) = header.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    fs::write(&header, wanted).map_err(|error| format!("{}: {error}", header.display()))
}

/// Says whether the committed header is the one that would be written, and where it differs.
pub fn check(root: &Path) -> Result<(), String> {
    let (binding, header) = places(root);
    let wanted = generate(&binding)?;
    let found = fs::read_to_string(&header)
        .map_err(|error| format!("{}: {error}: run `make header`", header.display()))?;
    match first_difference(&found, &wanted) {
        None => Ok(()),
        Some((line, found, wanted)) => Err(format!(
            "include/distkv.h:{line} is not what bindings/c says: run `make header` and commit it\n  \
             committed: {found}\n  generated: {wanted}"
        )),
    }
}

/// The header for the binding in a folder.
fn generate(binding: &Path) -> Result<String, String> {
    let manifest = binding.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(format!("{}: there is no C binding to make a header from", manifest.display()));
    }
    let builder = Builder::new().with_config(config(binding)).with_crate(binding);
    let bindings = builder.generate().map_err(|error| format!("{}: {error}", binding.display()))?;
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).map_err(|error| format!("the header is not UTF-8: {error}"))
}

/// How the header looks. Macros that cannot come from Rust stand in `bindings/c/macros.h`, which is
/// copied behind the includes: macros may name what is declared after them.
fn config(binding: &Path) -> Config {
    Config {
        language: Language::C,
        cpp_compat: true,
        style: Style::Type,
        usize_is_size_t: true,
        no_includes: true,
        sys_includes: ["stdbool.h", "stddef.h", "stdint.h"].map(str::to_owned).to_vec(),
        documentation_style: DocumentationStyle::Doxy,
        header: Some(HEAD.to_owned()),
        include_guard: Some("DISTKV_H".to_owned()),
        after_includes: fs::read_to_string(binding.join("macros.h"))
            .ok()
            .map(|macros| format!("\n{}", macros.trim_end())),
        ..Config::default()
    }
}

/// The first line (from 1) at which two texts differ, with both lines.
fn first_difference<'a>(found: &'a str, wanted: &'a str) -> Option<(usize, &'a str, &'a str)> {
    if found == wanted {
        return None;
    }
    let common =
        found.lines().zip(wanted.lines()).take_while(|(left, right)| left == right).count();
    let line = |text: &'a str| text.lines().nth(common).unwrap_or("(the end)");
    Some((common + 1, line(found), line(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str =
        "[package]\nname = \"ghost\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    const SOURCE: &str = r#"
        mod verbs;
        pub const DISTKV_API_VERSION: u32 = 1;
        /// A node.
        pub struct distkv_node { secret: u8 }
        #[repr(C)]
        pub struct distkv_slice { pub data: *const u8, pub len: usize }
    "#;
    const VERBS: &str = r#"
        /// Closes a node.
        ///
        /// Safe from any thread.
        #[unsafe(no_mangle)]
        pub extern "C" fn distkv_node_close(node: *mut crate::distkv_node, key: crate::distkv_slice) -> bool { true }
        pub fn not_exported() {}
    "#;

    /// A repository with a C binding that exports one function.
    fn repository() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let binding = root.path().join("bindings/c");
        fs::create_dir_all(binding.join("src")).unwrap();
        fs::write(binding.join("Cargo.toml"), MANIFEST).unwrap();
        fs::write(binding.join("src/lib.rs"), SOURCE).unwrap();
        fs::write(binding.join("src/verbs.rs"), VERBS).unwrap();
        fs::write(binding.join("macros.h"), "#define DISTKV_OPEN(x) open(x, DISTKV_API_VERSION)\n")
            .unwrap();
        root
    }

    #[test]
    fn what_was_written_passes_the_check_and_any_change_fails_it() {
        let root = repository();
        assert!(check(root.path()).unwrap_err().contains("make header"));
        write(root.path()).unwrap();
        check(root.path()).unwrap();

        let header = root.path().join("include/distkv.h");
        let text = fs::read_to_string(&header).unwrap();
        for part in [
            "#ifndef DISTKV_H",
            "extern \"C\"",
            "#include <stdint.h>",
            "#define DISTKV_API_VERSION 1",
            "#define DISTKV_OPEN(x)",
            "typedef struct distkv_node distkv_node;",
            "bool distkv_node_close(distkv_node *node, distkv_slice key);",
            " * Closes a node.",
            "size_t len",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        assert!(!text.contains("not_exported"), "{text}");

        fs::write(&header, text.replace("bool distkv_node_close", "void distkv_node_close"))
            .unwrap();
        let message = check(root.path()).unwrap_err();
        assert!(
            message.contains("committed: void") && message.contains("generated: bool"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_binding_is_said_so() {
        let empty = tempfile::tempdir().unwrap();
        assert!(check(empty.path()).unwrap_err().contains("no C binding"));
    }
}
