//! Whether a place in a shell line is quoted, where a quoted value would fall apart.

#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Plain,
    Single,
    Double,
    Parenthesis,
    Backtick,
}

/// Whether byte `at` of a shell line stands inside single or double quotes. Inside `$(…)` the
/// quotes around it do not count. Here-documents are read as plain text.
pub(super) fn is_inside(line: &[u8], at: usize) -> bool {
    use Context::{Backtick, Double, Parenthesis, Plain, Single};

    let mut contexts = vec![Plain];
    let mut position = 0;
    while position < at {
        let context = contexts.last().copied().unwrap_or(Plain);
        let byte = line[position];
        let word_starts = position == 0 || line[position - 1].is_ascii_whitespace();
        position += 1;
        match (context, byte) {
            (Single, b'\'') | (Double, b'"') | (Parenthesis, b')') | (Backtick, b'`') => {
                contexts.pop();
            }
            (Single, _) => {}
            (_, b'\\') => position += 1,
            (_, b'`') => contexts.push(Backtick),
            (_, b'$') if line.get(position) == Some(&b'(') => {
                contexts.push(Parenthesis);
                position += 1;
            }
            (Double, _) => {}
            (_, b'"') => contexts.push(Double),
            (_, b'\'') => contexts.push(Single),
            (Parenthesis, b'(') => contexts.push(Parenthesis),
            (_, b'#') if word_starts => {
                let comment = line[position..].iter().take_while(|&&b| b != b'\n').count();
                position += comment;
            }
            _ => {}
        }
    }
    matches!(contexts.last(), Some(Single | Double))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_inside_quotes_when_the_shell_says_so() {
        for (line, inside) in [
            ("cat @", false),
            ("cat '@'", true),
            ("cat \"x @\"", true),
            ("cat 'a'@'b'", false),
            ("cat \"$(basename @)\"", false),
            ("cat \"$(basename '@')\"", true),
            ("cat \"`wc @`\"", false),
            (r#"cat \"@\""#, false),
            (r"cat 'a\' @", false),
            ("x=$( (cd d; ls) ); cat \"@\"", true),
            ("cat # don't\ncat @", false),
            ("echo a#'b @", true),
        ] {
            let at = line.find('@').unwrap();
            assert_eq!(is_inside(line.as_bytes(), at), inside, "{line}");
        }
    }
}
