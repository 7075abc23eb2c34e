use std::io;

use pleiad_types::limits::RESOLVE_TIMEOUT;

/// What is wrong with an address that somebody wrote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing is before the port.
    #[error(
        "{text:?} has no host: write host or host:port; to listen at all addresses, 0.0.0.0:port"
    )]
    NoHost {
        /// What was written.
        text: String,
    },
    /// What is before the port can be no host.
    #[error("{text:?} is neither a name nor an address: write host or host:port")]
    BadHost {
        /// What was written.
        text: String,
    },
    /// Brackets are missing, or not closed, or not around an IPv6 address.
    #[error(
        "{text:?} is not clear: of an IPv6 address with a port, write the address in brackets, as in [::1]:9705"
    )]
    BadBrackets {
        /// What was written.
        text: String,
    },
    /// What is behind the last colon is no port.
    #[error("{text:?} has no good port: write a number up to 65535 behind the colon, or no colon")]
    BadPort {
        /// What was written.
        text: String,
    },
    /// Nobody can be at port 0.
    #[error(
        "{text:?} has port 0, at which nobody can be reached: write the port of the other node"
    )]
    PortZero {
        /// What was written.
        text: String,
    },
    /// The system knows no such name, or cannot ask. Perhaps it can later.
    #[error("cannot find {text}: look at the spelling, and whether this machine can resolve names")]
    NotFound {
        /// The host and port.
        text: String,
        /// What the system says.
        source: io::Error,
    },
    /// The name is there, but has no address.
    #[error("{text} has no address: give an address in place of the name")]
    NoAddress {
        /// The host and port.
        text: String,
    },
    /// No answer. Perhaps there is one later.
    #[error(
        "nobody has told the address of {text} within {} s: give an address in place of the name",
        RESOLVE_TIMEOUT.as_secs()
    )]
    TimedOut {
        /// The host and port.
        text: String,
    },
    /// The system does not tell of its interfaces.
    #[error("cannot list the network interfaces: say which addresses to announce")]
    Interfaces(#[source] io::Error),
}
