//! One file, as the rules see it: which parts are code, which are tests.
//!
//! Not a parser: it knows just enough of Rust's lexical structure (comments, strings, raw strings,
//! character literals, lifetimes) to blank out what is not code while every line keeps its number.

/// A file with the views that rules need. Paths use `/` and are relative to the repository.
#[derive(Debug)]
pub struct File {
    path: String,
    text: String,
    all_code: String,
    code: String,
    test_lines: usize,
}

impl File {
    /// Takes a file; for Rust it finds out which parts are code outside tests.
    pub fn new(path: &str, text: &str) -> File {
        let all_code = if path.ends_with(".rs") { only_code(text) } else { String::new() };
        let (code, test_lines) = without_tests(&all_code);
        File { path: path.to_owned(), text: text.to_owned(), all_code, code, test_lines }
    }

    /// Where the file is, from the root of the repository.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many lines belong to items under `#[cfg(test)]`.
    pub fn test_lines(&self) -> usize {
        self.test_lines
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is tests, by its name or its folder. A `src` folder below `tests` is
    /// the source of a test program, which is code like any other.
    pub fn is_test(&self) -> bool {
        let stem = self.stem();
        stem.ends_with("_test")
            || stem.starts_with("test_")
            || stem == "conftest"
            || self
                .folders()
                .rev()
                .take_while(|folder| *folder != "src")
                .any(|folder| folder == "tests")
    }

    /// The file's name without its extension.
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split_once('.').map_or(name, |(stem, _)| stem)
    }

    /// The folders above the file, outermost first.
    pub fn folders(&self) -> impl DoubleEndedIterator<Item = &str> {
        let above = self.path.rsplit_once('/').map_or("", |(above, _)| above);
        above.split('/').filter(|folder| !folder.is_empty())
    }

    /// The Rust code outside tests, as tokens. None for other files.
    pub fn tokens(&self) -> Vec<Token<'_>> {
        tokens(&self.code)
    }

    /// The Rust code with its tests, as tokens. None for other files.
    pub fn tokens_with_tests(&self) -> Vec<Token<'_>> {
        tokens(&self.all_code)
    }
}

/// A word (identifier, keyword, number) or one character of punctuation (`::` counts as one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// As written.
    pub text: &'a str,
    /// The line, from 1.
    pub line: usize,
}

/// Splits blanked code into tokens.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            found.push(Token { text, line });
        }
        rest = after;
    }
    found
}

/// The text with comments and the insides of literals replaced by spaces.
fn only_code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut last = ' ';
    while let Some(first) = rest.chars().next() {
        let blank = if last.is_alphanumeric() || last == '_' { 0 } else { prefixed_literal(rest) };
        let blank = if blank > 0 { blank } else { plain_literal_or_comment(rest) };
        let (taken, after) = rest.split_at(if blank > 0 { blank } else { first.len_utf8() });
        if blank > 0 {
            out.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            last = ' ';
        } else {
            out.push(first);
            last = first;
        }
        rest = after;
    }
    out
}

/// How many bytes a literal with a prefix (`r"`, `br#"`, `b"`, `c"`, `b'`) takes here, or 0.
fn prefixed_literal(text: &str) -> usize {
    for prefix in ["br", "cr", "r"] {
        let Some(after) = text.strip_prefix(prefix) else { continue };
        let hashes = after.len() - after.trim_start_matches('#').len();
        let fence = format!("\"{}", "#".repeat(hashes));
        let Some(body) = after.get(hashes..).and_then(|opened| opened.strip_prefix('"')) else {
            continue;
        };
        let inside = body.find(&fence).map_or(body.len(), |end| end + fence.len());
        return text.len() - body.len() + inside;
    }
    for prefix in ["b", "c"] {
        if let Some(after) = text.strip_prefix(prefix)
            && after.starts_with(['"', '\''])
        {
            let length = plain_literal_or_comment(after);
            return if length > 0 { length + prefix.len() } else { 0 };
        }
    }
    0
}

/// How many bytes a comment, a string or a character takes here, or 0.
fn plain_literal_or_comment(text: &str) -> usize {
    if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        block_comment(text)
    } else if let Some(body) = text.strip_prefix('"') {
        1 + until_quote(body, '"')
    } else if let Some(body) = text.strip_prefix('\'') {
        let mut chars = body.chars();
        match (chars.next(), chars.next()) {
            (Some('\\'), _) => 1 + until_quote(body, '\''),
            (Some(one), Some('\'')) => 2 + one.len_utf8(),
            _ => 0, // a lifetime
        }
    } else {
        0
    }
}

/// Bytes up to and with the closing quote, minding backslashes.
fn until_quote(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    body.len()
}

/// Bytes of a block comment, which may nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut rest = text;
    while !rest.is_empty() {
        if rest.starts_with("/*") {
            depth += 1;
        } else if rest.starts_with("*/") {
            depth -= 1;
        }
        let pair = rest.starts_with("/*") || rest.starts_with("*/");
        let step = if pair { 2 } else { rest.chars().next().map_or(1, char::len_utf8) };
        rest = rest.split_at(step).1;
        if depth == 0 {
            break;
        }
    }
    text.len() - rest.len()
}

/// The code with every item under `#[cfg(test)]` replaced by spaces, and how many lines those had.
fn without_tests(code: &str) -> (String, usize) {
    let mut out = String::with_capacity(code.len());
    let mut lines = 0;
    let mut rest = code;
    while let Some(start) =
        ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|mark| rest.find(mark)).min()
    {
        let (before, item) = rest.split_at(start);
        let (taken, after) = item.split_at(item_length(item));
        out.push_str(before);
        lines += taken.lines().count();
        out.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    out.push_str(rest);
    (out, lines)
}

/// Bytes of an item with its attributes: up to a `;` or the end of a `{}` block, at depth 0.
fn item_length(item: &str) -> usize {
    let mut round = 0_i32;
    let mut braces = 0_i32;
    for (at, c) in item.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        let ends =
            (c == ';' && round == 0 && braces == 0) || (c == '}' && round == 0 && braces <= 0);
        if ends {
            return at + 1;
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let file = File::new("a.rs", text);
        file.tokens().iter().map(|token| token.text.to_owned()).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        assert_eq!(words("a // unsafe\nb /* x /* y */ z */ c"), ["a", "b", "c"]);
        assert_eq!(
            words(r#"f("unsafe \" unsafe", 'u', '\'', b"u", b'u')"#),
            ["f", "(", ",", ",", ",", ",", ")"]
        );
        assert_eq!(words("r#\"unsafe \" \"# x br\"u\" y"), ["x", "y"]);
        assert_eq!(words("fn f<'a>(x: &'a str)").len(), 14);
        assert_eq!(words("for x in bar {}"), ["for", "x", "in", "bar", "{", "}"]);
    }

    #[test]
    fn lines_survive_blanking() {
        let file = File::new("a.rs", "/* one\ntwo */ a\n\"x\ny\" b\n");
        let lines: Vec<_> = file.tokens().iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(lines, [("a", 2), ("b", 4)]);
    }

    #[test]
    fn test_items_are_not_code_but_what_follows_them_is() {
        let text = "a;\n#[cfg(test)]\nmod tests { fn f() { g(); } }\nb;\n#[cfg(test)]\n#[path = \"x\"]\nmod t;\nc;";
        assert_eq!(words(text), ["a", ";", "b", ";", "c", ";"]);
        assert_eq!(words("#[cfg(test)] fn f(x: [u8; 4]) { x } d"), ["d"]);
    }

    #[test]
    fn tests_are_known_by_name_and_folder() {
        for path in [
            "kvcore/src/wal/writer_test.rs",
            "python/tests/a.py",
            "tests/cluster/kill.rs",
            "x/test_a.py",
        ] {
            assert!(File::new(path, "").is_test(), "{path}");
        }
        for path in ["kvcore/src/wal/writer.rs", "tests/tidy/src/lib.rs", "kvcore/src/attest.rs"] {
            assert!(!File::new(path, "").is_test(), "{path}");
        }
    }
}
