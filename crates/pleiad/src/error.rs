use std::error::Error as StdError;
use std::fmt;

/// Any error, for `main` and other functions that only pass errors on.
///
/// Made from every error by `?`. Prints, also when `main` returns it, as a person wants to read it:
/// what happened, and below it why.
pub struct Error(Box<dyn StdError + Send + Sync + 'static>);

/// A result for `main` and other functions that only pass errors on.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of one's own with this text.
    pub fn msg(text: impl Into<String>) -> Self {
        Self(text.into().into())
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
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
}
