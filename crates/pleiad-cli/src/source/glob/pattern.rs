//! Patterns as shells have them: `*`, `?`, `[a-z]`, `[!x]`, `**`, `{a,b}`, and `\` before any.

/// A pattern, split at its slashes.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) components: Vec<Component>,
    pub(super) absolute: bool,
    /// It ends with a slash.
    pub(super) directories_only: bool,
}

/// What one name on the way must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Component {
    Literal(Vec<u8>),
    Wild(Vec<Token>),
    /// `**`: any number of directories.
    Recursive,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    One(Unit),
    Any,
    Star,
    Class { negated: bool, items: Vec<Item> },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item {
    Range(Unit, Unit),
    Named(Named),
}

/// A class such as `[:digit:]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Named {
    Alnum,
    Alpha,
    Digit,
    Lower,
    Punct,
    Space,
    Upper,
    Xdigit,
}

/// A character, or a byte of a name that is not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Unit {
    Char(char),
    Byte(u8),
}

impl Pattern {
    /// `None` if it has more parts than a walk can keep apart.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let parts: Vec<_> = text.split(|&b| b == b'/').filter(|part| !part.is_empty()).collect();
        (parts.len() <= 64).then(|| Self {
            components: parts.into_iter().map(Component::parse).collect(),
            absolute: text.first() == Some(&b'/'),
            directories_only: text.last() == Some(&b'/'),
        })
    }

    pub(super) fn is_wild(&self) -> bool {
        self.components.iter().any(|c| !matches!(c, Component::Literal(_)))
    }

    /// Where the search begins: what stands before the first wildcard.
    pub(super) fn directory(&self) -> Vec<u8> {
        let mut directory = if self.absolute { b"/".to_vec() } else { Vec::new() };
        for component in &self.components[..self.components.len().saturating_sub(1)] {
            let Component::Literal(name) = component else { break };
            if !directory.is_empty() && directory.last() != Some(&b'/') {
                directory.push(b'/');
            }
            directory.extend_from_slice(name);
        }
        if directory.is_empty() { b".".to_vec() } else { directory }
    }
}

impl Component {
    fn parse(text: &[u8]) -> Self {
        if text == b"**" {
            return Self::Recursive;
        }
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some((unit, after)) = next_unit(rest) {
            rest = after;
            let token = match unit {
                Unit::Char('*') if tokens.last() == Some(&Token::Star) => continue,
                Unit::Char('*') => Token::Star,
                Unit::Char('?') => Token::Any,
                Unit::Char('[') => match class(after) {
                    Some((class, after)) => {
                        rest = after;
                        class
                    }
                    None => Token::One(unit),
                },
                Unit::Char('\\') => match next_unit(after) {
                    Some((escaped, after)) => {
                        rest = after;
                        Token::One(escaped)
                    }
                    None => Token::One(unit),
                },
                unit => Token::One(unit),
            };
            tokens.push(token);
        }
        let mut name = Vec::new();
        for token in &tokens {
            match token {
                Token::One(Unit::Byte(byte)) => name.push(*byte),
                Token::One(Unit::Char(c)) => {
                    name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => return Self::Wild(tokens),
            }
        }
        Self::Literal(name)
    }

    /// Whether a name in a directory fits. A hidden one fits only a pattern with the dot.
    pub(super) fn fits(&self, name: &[u8]) -> bool {
        let hidden = name.first() == Some(&b'.');
        match self {
            Self::Literal(literal) => literal == name,
            Self::Recursive => !hidden,
            Self::Wild(tokens) => {
                (!hidden || tokens.first() == Some(&Token::One(Unit::Char('.'))))
                    && tokens_fit(tokens, name)
            }
        }
    }
}

impl Token {
    fn fits(&self, unit: Unit) -> bool {
        match self {
            Self::One(one) => *one == unit,
            Self::Any => true,
            Self::Star => false,
            Self::Class { negated, items } => {
                items.iter().any(|item| match (item, unit) {
                    (Item::Range(first, last), unit) => (*first..=*last).contains(&unit),
                    (Item::Named(class), Unit::Char(c)) => class.has(c),
                    (Item::Named(_), Unit::Byte(_)) => false,
                }) != *negated
            }
        }
    }
}

impl Named {
    fn has(self, c: char) -> bool {
        match self {
            Self::Alnum => c.is_alphanumeric(),
            Self::Alpha => c.is_alphabetic(),
            Self::Digit => c.is_ascii_digit(),
            Self::Lower => c.is_lowercase(),
            Self::Punct => c.is_ascii_punctuation(),
            Self::Space => c.is_whitespace(),
            Self::Upper => c.is_uppercase(),
            Self::Xdigit => c.is_ascii_hexdigit(),
        }
    }
}

/// The alternatives of a pattern with `{a,b}`, in the order in which a shell lists them.
pub(super) fn expand_braces(text: &[u8]) -> Vec<Vec<u8>> {
    let Some((open, commas, close)) = first_braces(text) else { return vec![text.to_vec()] };
    let mut all = Vec::new();
    let mut start = open + 1;
    for end in commas.into_iter().chain([close]) {
        let one = [&text[..open], &text[start..end], &text[close + 1..]].concat();
        all.extend(expand_braces(&one));
        start = end + 1;
    }
    all
}

fn first_braces(text: &[u8]) -> Option<(usize, Vec<usize>, usize)> {
    (0..text.len()).filter(|&at| text[at] == b'{').find_map(|open| {
        let mut depth = 0;
        let mut commas = Vec::new();
        for (at, byte) in text.iter().enumerate().skip(open) {
            match byte {
                b'{' => depth += 1,
                b',' if depth == 1 => commas.push(at),
                b'}' if depth == 1 => {
                    return (!commas.is_empty()).then_some((open, commas, at));
                }
                b'}' => depth -= 1,
                _ => {}
            }
        }
        None
    })
}

/// Linear in the name for each star: after a mismatch only the last star takes one more.
fn tokens_fit(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut rest) = (0, name);
    let mut retry: Option<(usize, &[u8])> = None;
    loop {
        let next = next_unit(rest);
        match (tokens.get(token), next) {
            (Some(Token::Star), _) => {
                token += 1;
                retry = Some((token, rest));
            }
            (Some(one), Some((unit, after))) if one.fits(unit) => {
                token += 1;
                rest = after;
            }
            (None, None) => return true,
            _ => {
                let Some((after_star, from)) = retry else { return false };
                let Some((_, from)) = next_unit(from) else { return false };
                retry = Some((after_star, from));
                token = after_star;
                rest = from;
            }
        }
    }
}

/// What stands after the `[`: the class and the rest of the text.
fn class(text: &[u8]) -> Option<(Token, &[u8])> {
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut items = Vec::new();
    loop {
        if let Some((named, after)) = named_class(rest) {
            items.push(named);
            rest = after;
            continue;
        }
        let (mut unit, mut after) = next_unit(rest)?;
        match unit {
            Unit::Char(']') if !items.is_empty() => {
                return Some((Token::Class { negated, items }, after));
            }
            Unit::Char('\\') => (unit, after) = next_unit(after)?,
            _ => {}
        }
        let mut last = unit;
        if let [b'-', end @ ..] = after
            && let Some((end, after_end)) = next_unit(end)
            && end != Unit::Char(']')
        {
            last = end;
            after = after_end;
        }
        items.push(Item::Range(unit, last));
        rest = after;
    }
}

fn named_class(text: &[u8]) -> Option<(Item, &[u8])> {
    let rest = text.strip_prefix(b"[:")?;
    let end = rest.windows(2).position(|two| two == b":]")?;
    let class = match &rest[..end] {
        b"alnum" => Named::Alnum,
        b"alpha" => Named::Alpha,
        b"digit" => Named::Digit,
        b"lower" => Named::Lower,
        b"punct" => Named::Punct,
        b"space" => Named::Space,
        b"upper" => Named::Upper,
        b"xdigit" => Named::Xdigit,
        _ => return None,
    };
    Some((Item::Named(class), &rest[end + 2..]))
}

fn next_unit(text: &[u8]) -> Option<(Unit, &[u8])> {
    let (&first, after) = text.split_first()?;
    if first.is_ascii() {
        return Some((Unit::Char(char::from(first)), after));
    }
    let start = &text[..text.len().min(4)];
    let valid = start.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    Some(match valid {
        Some(c) => (Unit::Char(c), &text[c.len_utf8()..]),
        None => (Unit::Byte(first), after),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*.fa", "a.fa", true),
            ("*.fa", ".fa", false),
            (".*", ".fa", true),
            ("[.]fa", ".fa", false),
            ("?.fa", "\u{e9}.fa", true),
            ("??.fa", "\u{e9}.fa", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]a]x", "]x", true),
            ("[a-]x", "-x", true),
            ("[[:digit:]_]x", "7x", true),
            ("[[:digit:]_]x", "_x", true),
            ("[\u{e0}-\u{ef}]", "\u{e9}", true),
            ("[ab", "[ab", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*", "", true),
            ("a**b", "axb", true),
        ] {
            assert_eq!(
                Component::parse(pattern.as_bytes()).fits(name.as_bytes()),
                fits,
                "{pattern}"
            );
        }
        assert!(Component::parse(b"?x*").fits(b"\xffx\xfe"));
        assert!(Component::parse(b"\xffx*").fits(b"\xffx\xfe"));
        assert!(Component::parse(b"[!a]x").fits(b"\xffx"));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = Component::parse(format!("{}c", "a*".repeat(40)).as_bytes());
        assert!(!pattern.fits("a".repeat(5000).as_bytes()));
    }

    #[test]
    fn braces_are_alternatives() {
        let all = |text: &str| {
            let all = expand_braces(text.as_bytes());
            all.into_iter().map(|text| String::from_utf8(text).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(all("*.{fa,fq}"), ["*.fa", "*.fq"]);
        assert_eq!(all("{a,b}{1,2}"), ["a1", "a2", "b1", "b2"]);
        assert_eq!(all("x{a,{b,c}d}"), ["xa", "xbd", "xcd"]);
        assert_eq!(all("{a}"), ["{a}"]);
        assert_eq!(all("a{b,"), ["a{b,"]);
        assert_eq!(all("{a,}b"), ["ab", "b"]);
    }

    #[test]
    fn the_search_begins_before_the_first_wildcard() {
        let directory =
            |text: &str| String::from_utf8(Pattern::parse(text.as_bytes()).unwrap().directory());
        assert_eq!(directory("*.fa").unwrap(), ".");
        assert_eq!(directory("a/b/*/c").unwrap(), "a/b");
        assert_eq!(directory("/a*").unwrap(), "/");
        assert_eq!(directory("/x/y*").unwrap(), "/x");
    }
}
