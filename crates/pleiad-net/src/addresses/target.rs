//! Addresses as people write them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use pleiad_types::limits::{ADDRESSES_MAX, RESOLVE_TIMEOUT};
use tokio::time::timeout;

use super::error::AddressError;

/// The longest name that DNS knows.
const HOST_BYTES_MAX: usize = 253;

/// Where a peer is, or where to listen, or what to announce: `host`, `host:port`, `[v6]:port`, `v6`.
///
/// Prints as `host:port`, with brackets if needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// A name or an address; of an IPv6 address, what is between the brackets.
    host: String,
    port: u16,
}

impl Target {
    /// The address of a peer, or one to announce, from a text without a port if it is `port`.
    ///
    /// # Errors
    ///
    /// [`AddressError`]; [`AddressError::PortZero`] for port 0: nobody is there.
    pub(crate) fn of_peer(text: &str, port: u16) -> Result<Self, AddressError> {
        let target = Self::of_listener(text, port)?;
        if target.port == 0 {
            return Err(AddressError::PortZero { text: text.to_owned() });
        }
        Ok(target)
    }

    /// An address to listen at. With port 0, the system gives one.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub(crate) fn of_listener(text: &str, port: u16) -> Result<Self, AddressError> {
        let (host, port_text) = split(text)?;
        check_host(host, text)?;
        let bad_port = || AddressError::BadPort { text: shown(text) };
        let is_number = |text: &&str| text.bytes().all(|b| b.is_ascii_digit());
        let port = match port_text {
            Some(digits) => Some(digits).filter(is_number).and_then(|digits| digits.parse().ok()),
            None => Some(port),
        };
        Ok(Self { host: host.to_owned(), port: port.ok_or_else(bad_port)? })
    }

    /// All addresses that the host has, in the system's order, each once, at most
    /// [`ADDRESSES_MAX`]. Waits for the system's
    /// answer, at most 5 s.
    ///
    /// # Errors
    ///
    /// [`AddressError::NotFound`], [`AddressError::NoAddress`], [`AddressError::TimedOut`].
    pub(crate) async fn resolve(&self) -> Result<Vec<SocketAddr>, AddressError> {
        let text = || self.to_string();
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found = timeout(RESOLVE_TIMEOUT, lookup)
            .await
            .map_err(|_| AddressError::TimedOut { text: text() })?
            .map_err(|source| AddressError::NotFound { text: text(), source })?;
        let mut addresses = Vec::new();
        for address in found {
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(AddressError::NoAddress { text: text() });
        }
        Ok(addresses)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// The host, and the port if there is one.
fn split(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    let bad_brackets = || AddressError::BadBrackets { text: shown(text) };
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(bad_brackets)?;
        if !is_v6(host) {
            return Err(bad_brackets());
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(bad_brackets()),
        };
    }
    match text.rsplit_once(':') {
        _ if is_v6(text) => Ok((text, None)),
        _ if text.contains("://") => Err(bad_host(text)),
        Some((host, _)) if host.contains(':') => Err(bad_brackets()),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

/// Whether it is an IPv6 address, perhaps with the interface that it is of.
fn is_v6(text: &str) -> bool {
    let (address, interface) = text.split_once('%').unwrap_or((text, "-"));
    !interface.is_empty() && address.parse::<Ipv6Addr>().is_ok()
}

fn check_host(host: &str, text: &str) -> Result<(), AddressError> {
    if host.is_empty() {
        return Err(AddressError::NoHost { text: shown(text) });
    }
    // A name may have letters of any language; these only can never be one.
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "/@?#[]\\\"'".contains(c);
    let looks_like_v4 = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_wrong_v4 = looks_like_v4 && host.parse::<IpAddr>().is_err();
    if host.len() > HOST_BYTES_MAX || host.contains(is_odd) || is_wrong_v4 {
        return Err(bad_host(text));
    }
    Ok(())
}

fn bad_host(text: &str) -> AddressError {
    AddressError::BadHost { text: shown(text) }
}

/// Not more of it than fits on a screen.
fn shown(text: &str) -> String {
    text.chars().take(HOST_BYTES_MAX + ":65535".len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read_as_people_write_them() {
        let cases = [
            ("lab", "lab:9705"),
            ("lab.example.org:80", "lab.example.org:80"),
            ("10.0.0.1", "10.0.0.1:9705"),
            ("10.0.0.1:0", "10.0.0.1:0"),
            ("0.0.0.0", "0.0.0.0:9705"),
            ("::", "[::]:9705"),
            ("::1", "[::1]:9705"),
            ("2001:db8::1:80", "[2001:db8::1:80]:9705"),
            ("[::1]", "[::1]:9705"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("fe80::1%eth0", "[fe80::1%eth0]:9705"),
            ("[fe80::1%2]:1", "[fe80::1%2]:1"),
            ("maß.example", "maß.example:9705"),
            ("3com.example:00080", "3com.example:80"),
        ];
        for (text, read) in cases {
            let target = Target::of_listener(text, 9705).unwrap();
            assert_eq!(target.to_string(), read);
            assert_eq!(Target::of_listener(read, 1).unwrap(), target);
        }
    }

    #[test]
    fn errors_name_the_text_and_what_to_write() {
        let long = "x".repeat(100_000);
        let cases = [
            ("", "no host"),
            (":80", "no host"),
            ("lab:", "port"),
            ("lab:http", "port"),
            ("lab:65536", "port"),
            ("lab:-1", "port"),
            ("lab:+1", "port"),
            ("lab:99999999999999999999", "port"),
            ("[::1", "brackets"),
            ("[::1]80", "brackets"),
            ("[lab]:80", "brackets"),
            ("[fe80::1%]:80", "brackets"),
            ("a:b:80", "brackets"),
            ("2001:db8:::80", "brackets"),
            ("pleiad://lab:80", "neither a name nor an address"),
            ("http://lab", "neither a name nor an address"),
            ("me@lab", "neither a name nor an address"),
            ("my lab", "neither a name nor an address"),
            ("lab\n", "neither a name nor an address"),
            ("10.0.0.256", "neither a name nor an address"),
            ("10.0.0", "neither a name nor an address"),
            (&long, "neither a name nor an address"),
        ];
        for (text, what) in cases {
            let error = Target::of_peer(text, 9705).unwrap_err().to_string();
            let start: String = text.chars().take(100).collect();
            assert!(error.contains(format!("{start:?}").trim_end_matches('"')), "{error}");
            assert!(error.contains(what) && error.len() < 500, "{text:?}: {error}");
        }
    }

    #[test]
    fn a_peer_is_not_at_port_zero() {
        let error = Target::of_peer("lab:0", 9705).unwrap_err();
        assert!(matches!(error, AddressError::PortZero { .. }), "{error}");
    }

    #[tokio::test]
    async fn names_and_addresses_are_resolved() {
        for (text, address) in [("127.0.0.1:5", "127.0.0.1:5"), ("[::1]:5", "[::1]:5")] {
            let found = Target::of_peer(text, 1).unwrap().resolve().await.unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
        let found = Target::of_peer("localhost", 5).unwrap().resolve().await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 5));
    }

    #[tokio::test]
    async fn a_name_that_nobody_has_is_an_error_that_names_it() {
        // Never asked of a server: it cannot be a name in the domain name system.
        let name = format!("{}.invalid", "x".repeat(64));
        let error = Target::of_peer(&name, 5).unwrap().resolve().await.unwrap_err();
        assert!(matches!(error, AddressError::NotFound { .. }), "{error:?}");
        assert!(error.to_string().contains(&name), "{error}");
    }
}
