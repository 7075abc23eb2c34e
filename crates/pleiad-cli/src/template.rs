//! A command with placeholders, and the command of one job.
//!
//! A placeholder is `{`, then only letters, digits and `. / _ -` or nothing, then `}`; not directly
//! after a `$`, and not in double braces. `\{x}` stands for the text `{x}`. Every other byte,
//! such as those of `{"a":1}`, `${HOME}`, `{{.ID}}` or `{print $1}`, stays what it is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::quote;

mod form;
mod quotes;

use form::Form;

/// The placeholders, for messages and help.
pub(crate) const KNOWN: &str = "{} {.} {/} {//} {/.} {n}, and {1} {2.} {3/} … with several :::";

/// What stands for the value of a job in its command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// The placeholders in braces.
    Braces,
    /// This text and nothing else.
    Only(OsString),
}

/// How the command is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// The first word is a program, and every other word one of its arguments.
    Program,
    /// The words form one line for `/bin/sh`; values are quoted so that they stay one word.
    Shell,
}

/// What a job without any placeholder in its command does with its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unplaced {
    /// It becomes the last argument.
    Append,
    /// It goes elsewhere.
    LeaveOut,
}

/// A command with placeholders.
#[derive(Debug)]
pub(crate) struct Template {
    arguments: Vec<Argument>,
    start: Start,
}

/// Why a command is not a template.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TemplateError {
    #[error("{0} is not a placeholder\n  known: {known}\n  to pass the text itself, write '\\{0}'; \
             with -I STR nothing in braces is replaced", known = KNOWN)]
    Unknown(String),
    #[error("{placeholder} is the value of source {source_number}, but there {is_are}",
        is_are = if *sources == 1 { "is only one source".into() } else { format!("are only {sources}") })]
    NoSuchSource { placeholder: String, source_number: u64, sources: usize },
    #[error(
        "{placeholder} in '{argument}' could be the value of any of {sources} sources\n  \
             say which, such as {{1}} or {{2.}}; {{}} as a whole argument stands for all of them"
    )]
    Ambiguous { placeholder: String, argument: String, sources: usize },
    #[error(
        "{0} stands inside quotes, but with --shell every value is quoted already\n  \
             write {0} without quotes around it"
    )]
    InsideQuotes(String),
    #[error("-I needs a text to replace")]
    EmptyText,
}

impl Template {
    /// Understands `command`, whose jobs get one value from each of `sources` sources.
    pub(crate) fn parse(
        command: &[OsString],
        sources: usize,
        style: &Style,
        start: Start,
        unplaced: Unplaced,
    ) -> Result<Self, TemplateError> {
        let mut arguments = match start {
            Start::Program => command
                .iter()
                .map(|word| Argument::parse(word.as_bytes(), sources, style, start))
                .collect::<Result<Vec<_>, _>>()?,
            Start::Shell => {
                let line = command.join(OsStr::new(" "));
                vec![Argument::parse(line.as_bytes(), sources, style, start)?]
            }
        };
        if unplaced == Unplaced::Append && !arguments.iter().any(Argument::has_placeholder) {
            let value = Piece::Value { source: None, form: Form::Whole };
            match (start, arguments.last_mut()) {
                (Start::Shell, Some(line)) => line.0.extend([Piece::Text(b" ".to_vec()), value]),
                _ => arguments.push(Argument(vec![value])),
            }
        }
        Ok(Self { arguments, start })
    }

    /// The program that every job starts, unless it depends on the job.
    pub(crate) fn program(&self) -> Option<&OsStr> {
        match (self.start, self.arguments.first()?.0.as_slice()) {
            (Start::Shell, _) => Some(OsStr::new("/bin/sh")),
            (Start::Program, [Piece::Text(text)]) => Some(OsStr::from_bytes(text)),
            (Start::Program, _) => None,
        }
    }

    /// How the first word begins, up to its first placeholder.
    pub(crate) fn program_beginning(&self) -> &OsStr {
        match self.arguments.first().and_then(|argument| argument.0.first()) {
            Some(Piece::Text(text)) => OsStr::from_bytes(text),
            _ => OsStr::new(""),
        }
    }

    /// The program and arguments of job `number`.
    pub(crate) fn words(&self, number: u64, values: &[OsString]) -> Vec<OsString> {
        match self.start {
            Start::Shell => vec!["/bin/sh".into(), "-c".into(), self.line(number, values)],
            Start::Program => {
                let mut words = Vec::with_capacity(self.arguments.len() + 1);
                for argument in &self.arguments {
                    match argument.0.as_slice() {
                        [Piece::Value { source: None, .. }] => words.extend_from_slice(values),
                        pieces => words.push(OsString::from_vec(fill(
                            pieces,
                            number,
                            values,
                            Start::Program,
                        ))),
                    }
                }
                words
            }
        }
    }

    /// The command of job `number` on one line, to be pasted into a shell.
    pub(crate) fn show(&self, number: u64, values: &[OsString]) -> String {
        if self.start == Start::Shell {
            let line = self.line(number, values);
            if let Some(line) = line.to_str().filter(|line| !line.chars().any(char::is_control)) {
                return line.to_owned();
            }
        }
        quote::show_words(self.words(number, values).iter().map(OsString::as_os_str))
    }

    fn line(&self, number: u64, values: &[OsString]) -> OsString {
        let pieces = self.arguments.first().map_or(&[][..], |argument| argument.0.as_slice());
        OsString::from_vec(fill(pieces, number, values, Start::Shell))
    }
}

fn fill(pieces: &[Piece], number: u64, values: &[OsString], start: Start) -> Vec<u8> {
    let mut text = Vec::new();
    let put = |text: &mut Vec<u8>, value: &OsString, form: Form| match start {
        Start::Program => text.extend_from_slice(form.of(value.as_bytes())),
        Start::Shell => quote::single_quote(text, form.of(value.as_bytes())),
    };
    for piece in pieces {
        match piece {
            Piece::Text(literal) => text.extend_from_slice(literal),
            Piece::Number => text.extend_from_slice(number.to_string().as_bytes()),
            Piece::Value { source: Some(source), form } => put(&mut text, &values[*source], *form),
            Piece::Value { source: None, form } => {
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        text.push(b' ');
                    }
                    put(&mut text, value, *form);
                }
            }
        }
    }
    text
}

#[derive(PartialEq, Eq, Debug)]
struct Argument(Vec<Piece>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(Vec<u8>),
    Number,
    /// `None` stands for the values of all sources, each a word of its own.
    Value {
        source: Option<usize>,
        form: Form,
    },
}

impl Argument {
    fn parse(
        text: &[u8],
        sources: usize,
        style: &Style,
        start: Start,
    ) -> Result<Self, TemplateError> {
        let found = match style {
            Style::Braces => tokens(text),
            Style::Only(repl) => occurrences(text, repl.as_bytes())?,
        };
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = 0;
        for token in &found {
            let shown = String::from_utf8_lossy(&text[token.start..token.end]);
            literal.extend_from_slice(&text[rest..token.start]);
            rest = token.end;
            if token.escaped {
                literal.pop();
                literal.extend_from_slice(shown.as_bytes());
                continue;
            }
            let piece = match style {
                Style::Only(_) => Piece::Value { source: None, form: Form::Whole },
                Style::Braces => meaning(&shown, sources)?,
            };
            let whole = token.start == 0 && token.end == text.len();
            let piece = match piece {
                Piece::Value { source: None, form } if sources == 1 => {
                    Piece::Value { source: Some(0), form }
                }
                Piece::Value { source: None, form }
                    if form != Form::Whole || (start == Start::Program && !whole) =>
                {
                    return Err(TemplateError::Ambiguous {
                        placeholder: shown.into_owned(),
                        argument: String::from_utf8_lossy(text).into_owned(),
                        sources,
                    });
                }
                piece => piece,
            };
            if start == Start::Shell && quotes::is_inside(text, token.start) {
                return Err(TemplateError::InsideQuotes(shown.into_owned()));
            }
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        literal.extend_from_slice(&text[rest..]);
        if !literal.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    fn has_placeholder(&self) -> bool {
        self.0.iter().any(|piece| !matches!(piece, Piece::Text(_)))
    }
}

/// What looks like a placeholder, from `start` to before `end`.
struct Token {
    start: usize,
    end: usize,
    escaped: bool,
}

fn tokens(text: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].iter().position(|&b| b == b'{').map(|at| from + at) {
        from = start + 1;
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || b"./_-".contains(b);
        let end = from + text[from..].iter().take_while(|b| is_word(b)).count();
        if text.get(end) != Some(&b'}') {
            continue;
        }
        let end = end + 1;
        let before = start.checked_sub(1).map(|at| text[at]);
        let doubled = before == Some(b'{') && text.get(end) == Some(&b'}');
        if !doubled && before != Some(b'$') {
            tokens.push(Token { start, end, escaped: before == Some(b'\\') });
        }
        from = end;
    }
    tokens
}

fn occurrences(text: &[u8], wanted: &[u8]) -> Result<Vec<Token>, TemplateError> {
    if wanted.is_empty() {
        return Err(TemplateError::EmptyText);
    }
    let mut tokens = Vec::new();
    let mut from = 0;
    while from + wanted.len() <= text.len() {
        if text[from..].starts_with(wanted) {
            let end = from + wanted.len();
            tokens.push(Token { start: from, end, escaped: false });
            from = end;
        } else {
            from += 1;
        }
    }
    Ok(tokens)
}

fn meaning(token: &str, sources: usize) -> Result<Piece, TemplateError> {
    let inner = &token[1..token.len() - 1];
    if inner == "n" {
        return Ok(Piece::Number);
    }
    let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
    let (source, form) = inner.split_at(digits);
    let unknown = || TemplateError::Unknown(token.to_owned());
    let form = Form::parse(form).ok_or_else(unknown)?;
    if source.is_empty() {
        return Ok(Piece::Value { source: None, form });
    }
    let source_number: u64 = source.parse().map_err(|_| unknown())?;
    match usize::try_from(source_number) {
        Ok(n) if (1..=sources).contains(&n) => Ok(Piece::Value { source: Some(n - 1), form }),
        _ => Err(TemplateError::NoSuchSource {
            placeholder: token.to_owned(),
            source_number,
            sources,
        }),
    }
}

#[cfg(test)]
mod tests;
