use std::error::Error as StdError;
use std::fmt;

/// Any error, for `main` and other functions that only pass errors on.
///
/// Made from every error by `?`. Prints what happened; with `{:#}`, in the same line, also why; and when
/// `main` returns it, what happened and below it why.
pub struct Error(Box<dyn StdError + Send + Sync + 'static>);

/// A result for `main` and other functions that only pass errors on.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of one's own with this text.
    pub fn msg(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// This error as the reason for another, with this text. See [`Context`].
    pub fn context(self, text: impl Into<String>) -> Self {
        Self(Box::new(WithContext { text: text.into(), because: self.0 }))
    }

    /// The error that this was made from.
    pub fn inner(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// Says what failed, above why.
///
/// ```
/// use pleiad::Context;
///
/// fn size(path: &str) -> pleiad::Result<u64> {
///     Ok(std::fs::metadata(path).context(format!("cannot look at {path}"))?.len())
/// }
///
/// let error = size("/nowhere").unwrap_err();
/// assert_eq!(error.to_string(), "cannot look at /nowhere");
/// assert!(format!("{error:#}").starts_with("cannot look at /nowhere: No such file"));
/// ```
pub trait Context<T> {
    /// The error, if it is one, becomes the reason for another with this text.
    ///
    /// # Errors
    ///
    /// That one.
    fn context(self, text: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, text: impl Into<String>) -> Result<T> {
        self.map_err(|error| error.into().context(text))
    }
}

/// A text above an error.
#[derive(Debug)]
struct WithContext {
    text: String,
    because: Box<dyn StdError + Send + Sync + 'static>,
}

impl fmt::Display for WithContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for WithContext {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.because)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)?;
        if f.alternate() {
            let mut source = self.0.source();
            while let Some(error) = source {
                write!(f, ": {error}")?;
                source = error.source();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, "\n  because: {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the count is no number")
        }
    }

    impl StdError for Outer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn main_prints_what_happened_and_why() {
        let error = Error::from(Outer("x".parse::<u8>().unwrap_err()));
        let printed = format!("{error:?}");
        assert_eq!(printed, "the count is no number\n  because: invalid digit found in string");
    }

    #[test]
    fn it_prints_its_reasons_in_one_line_when_asked() {
        let error = Error::from(Outer("x".parse::<u8>().unwrap_err())).context("nothing was sold");
        assert_eq!(error.to_string(), "nothing was sold");
        let line = "nothing was sold: the count is no number: invalid digit found in string";
        assert_eq!(format!("{error:#}"), line);
    }
}
