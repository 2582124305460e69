//! Source text as the checks search it: Rust with everything blanked out that is not code.

/// Returns `text` with comments and the contents of string and character literals replaced by spaces, line
/// by line in place, so that a search finds code only and still knows the line.
///
/// It knows line and nested block comments, plain, byte and raw strings, and tells a character literal
/// from a lifetime.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(next) = rest.chars().next() {
        let length = literal_or_comment(rest, previous);
        if length == 0 {
            code.push(next);
            previous = next;
            rest = &rest[next.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            previous = ' ';
            rest = &rest[length..];
        }
    }
    code
}

/// Returns the part of the code that is no unit test: everything before the first `#[cfg(test)]`, which
/// stands last in a file of this project.
pub(crate) fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]").map_or(code, |end| &code[..end])
}

/// Returns what follows the last dot of a path, or nothing.
pub(crate) fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// Yields the lines, numbered from 1.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Returns the length of the comment or literal that `rest` begins with, 0 where it begins with neither.
fn literal_or_comment(rest: &str, previous: char) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, 0);
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    let in_identifier = previous.is_alphanumeric() || previous == '_';
    if !in_identifier && rest.starts_with(['r', 'b', 'c']) {
        return prefixed(rest);
    }
    0
}

/// Length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of a string that opens at `open`, escapes honoured.
fn quoted(rest: &str, open: usize) -> usize {
    let bytes = rest.as_bytes();
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a character literal; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(0, |end| 3 + end + 1),
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// Length of a byte, C or raw string; 0 where the letters are a name.
fn prefixed(rest: &str) -> usize {
    let letters = rest.bytes().take_while(|b| matches!(b, b'r' | b'b' | b'c')).count();
    let raw = rest[..letters].ends_with('r');
    let hashes = rest[letters..].bytes().take_while(|b| *b == b'#').count();
    let open = letters + hashes;
    if letters > 2 || !rest[open..].starts_with('"') || (!raw && hashes > 0) {
        return 0;
    }
    if !raw {
        return quoted(rest, open);
    }
    let close = format!("\"{}", "#".repeat(hashes));
    rest[open + 1..].find(&close).map_or(rest.len(), |end| open + 1 + end + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, code: &str) {
        assert_eq!(code_only(text), code);
    }

    #[test]
    fn comments_and_literals_are_blanked_in_place() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d */ e", "a                   e");
        check(r#"f("x\"y", z)"#, "f(      , z)");
        check("f(\"a\nb\")", "f(  \n  )");
        check(r##"f(r#"a"b"#)"##, "f(        )");
        check(r#"f(b"ab")"#, "f(     )");
    }

    #[test]
    fn names_and_lifetimes_stay() {
        check("fn f<'a>(r: &'a str) {}", "fn f<'a>(r: &'a str) {}");
        check(r"match c { 'x' => '\'', _ => '\n' }", r"match c {     =>     , _ =>      }");
        check("bar(r, b, c)", "bar(r, b, c)");
        check("var\"x\"", "var   ");
    }

    #[test]
    fn unit_tests_are_cut_off() {
        assert_eq!(without_tests("fn f() {}\n#[cfg(test)]\nmod tests {}"), "fn f() {}\n");
    }
}
