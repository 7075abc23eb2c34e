//! Why the program ends without having done what it was asked for.

/// An error with the exit status that tells of it.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: u8,
    pub(crate) error: anyhow::Error,
}

impl Problem {
    /// The command line is wrong, and nothing was run.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 2, error: error.into() }
    }

    /// There is nobody to talk to.
    pub(crate) fn nobody(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 3, error: error.into() }
    }

    /// It took too long.
    pub(crate) fn timed_out(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 124, error: error.into() }
    }

    /// Something failed on the way.
    pub(crate) fn failure(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 1, error: error.into() }
    }
}
