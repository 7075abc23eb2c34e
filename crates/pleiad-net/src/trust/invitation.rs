use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::fingerprint::{BASE32, Fingerprint, hash};
use super::key_error::KeyError;

/// The port on which a node listens and to which an invitation points, unless another is named.
pub const DEFAULT_PORT: u16 = 9705;

/// Lets a machine into a cluster: where to ask, whom to believe, and a secret.
///
/// Its text is `pleiad://host:port/token`, and is as secret as a password: whoever has it may use it
/// until it is used up or too old. The 56 letters and digits of the token contain a check, so that
/// one that was copied wrongly is found before anybody is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    // Invariant: a name, an IPv4 address, or an IPv6 address without brackets.
    host: String,
    port: u16,
    cluster: Fingerprint,
    secret: Secret,
}

impl Invitation {
    /// Points to a node of `cluster` that will know the secret. `host`: name or address, IPv6
    /// without brackets.
    ///
    /// # Errors
    ///
    /// [`ParseInvitationError::Host`] and [`ParseInvitationError::Port`].
    pub fn new(
        host: &str,
        port: u16,
        cluster: Fingerprint,
        secret: Secret,
    ) -> Result<Self, ParseInvitationError> {
        check_host(host)?;
        if port == 0 {
            return Err(ParseInvitationError::Port);
        }
        Ok(Self { host: host.to_owned(), port, cluster, secret })
    }

    /// Where the inviting node is: `host:port`.
    pub fn address(&self) -> String {
        let is_v6 = self.host.contains(':');
        if is_v6 {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The name or address of the node that admits; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The id of the cluster.
    pub fn cluster(&self) -> Fingerprint {
        self.cluster
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// What proves that somebody was invited: 128 random bits. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    pub(super) fn random() -> Result<Self, KeyError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(KeyError::crypto)?;
        Ok(Self(bytes))
    }

    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// By this, an invitation is known to the node that gave it; the secret is not kept.
    pub fn id(&self) -> Fingerprint {
        Fingerprint::from_bytes(hash(&self.0))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why a text is not an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseInvitationError {
    /// It begins otherwise.
    #[error("an invitation begins with pleiad://: copy all of it")]
    Scheme,
    /// There is a blank or a line break inside.
    #[error("the invitation has a blank or line break inside: copy it as one line, without blanks")]
    Blank,
    /// There is no token.
    #[error(
        "the invitation has no token: it has the form pleiad://host:port/token; copy all of it"
    )]
    NoToken,
    /// The token's end is missing.
    #[error("the invitation is cut off: the token has 56 characters, {missing} more than this")]
    CutOff {
        /// Characters that are missing.
        missing: usize,
    },
    /// There is something behind the token.
    #[error("the invitation is too long: the token has 56 characters, and nothing follows it")]
    TooLong,
    /// The token is not what was printed.
    #[error("the token has an error in it: copy it again")]
    Typo,
    /// What is no name or address of a machine.
    #[error("the host is neither a name nor an address; an IPv6 address stands in brackets: [::1]")]
    Host,
    /// What is no port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl FromStr for Invitation {
    type Err = ParseInvitationError;

    /// Blanks and line breaks around it are ignored.
    fn from_str(text: &str) -> Result<Self, ParseInvitationError> {
        use ParseInvitationError as E;

        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(E::Scheme)?;
        if !scheme.eq_ignore_ascii_case("pleiad") {
            return Err(E::Scheme);
        }
        if rest.contains(char::is_whitespace) {
            return Err(E::Blank);
        }
        let (place, token) = rest.split_once('/').ok_or(E::NoToken)?;
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(E::Host)?;
                host.parse::<Ipv6Addr>().map_err(|_| E::Host)?;
                (
                    host,
                    if port.is_empty() {
                        None
                    } else {
                        Some(port.strip_prefix(':').ok_or(E::Port)?)
                    },
                )
            }
            None => match place.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(E::Host),
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = match port {
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
                port.parse().map_err(|_| E::Port)?
            }
            Some(_) => return Err(E::Port),
            None => DEFAULT_PORT,
        };
        let (cluster, secret) = read_token(token)?;
        Self::new(host, port, cluster, secret)
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, cluster, secret } = self;
        let token = write_token(cluster, secret);
        if host.contains(':') {
            write!(f, "pleiad://[{host}]:{port}/{token}")
        } else {
            write!(f, "pleiad://{host}:{port}/{token}")
        }
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

const TOKEN_CHARACTERS: usize = 56;

// 16 bytes of fingerprint, 16 of secret, 3 of check: 56 characters without a bit left over.
fn write_token(cluster: &Fingerprint, secret: &Secret) -> String {
    let mut bytes = [0; 35];
    bytes[..16].copy_from_slice(cluster.as_bytes());
    bytes[16..32].copy_from_slice(secret.as_bytes());
    let check = hash(&bytes[..32]);
    bytes[32..].copy_from_slice(&check[..3]);
    BASE32.encode(&bytes)
}

fn read_token(token: &str) -> Result<(Fingerprint, Secret), ParseInvitationError> {
    use ParseInvitationError as E;

    match token.chars().count() {
        0 => return Err(E::NoToken),
        n if n < TOKEN_CHARACTERS => return Err(E::CutOff { missing: TOKEN_CHARACTERS - n }),
        TOKEN_CHARACTERS => {}
        _ => return Err(E::TooLong),
    }
    let bytes = BASE32.decode(token.as_bytes()).map_err(|_| E::Typo)?;
    let bytes: [u8; 35] = bytes.try_into().map_err(|_| E::Typo)?;
    if hash(&bytes[..32])[..3] != bytes[32..] {
        return Err(E::Typo);
    }
    let (mut cluster, mut secret) = ([0; 16], [0; 16]);
    cluster.copy_from_slice(&bytes[..16]);
    secret.copy_from_slice(&bytes[16..32]);
    Ok((Fingerprint::from_bytes(cluster), Secret(secret)))
}

fn check_host(host: &str) -> Result<(), ParseInvitationError> {
    let is_name = (1..=253).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if is_name || host.parse::<Ipv6Addr>().is_ok() {
        Ok(())
    } else {
        Err(ParseInvitationError::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::ParseInvitationError as E;
    use super::*;

    fn invitation(host: &str, port: u16) -> Invitation {
        let cluster = Fingerprint::from_bytes(hash(b"cluster"));
        Invitation::new(host, port, cluster, Secret(hash(b"secret"))).unwrap()
    }

    #[test]
    fn what_is_printed_is_read() {
        for (host, place) in [
            ("node-a.lan", "pleiad://node-a.lan:4000/"),
            ("192.0.2.7", "pleiad://192.0.2.7:4000/"),
            ("2001:db8::1", "pleiad://[2001:db8::1]:4000/"),
        ] {
            let invitation = invitation(host, 4000);
            let text = invitation.to_string();
            assert!(text.starts_with(place), "{text}");
            assert_eq!(text.len(), place.len() + 56);
            assert_eq!(text.parse(), Ok(invitation.clone()));
            assert_eq!(format!(" {text}\r\n").parse(), Ok(invitation.clone()));
            let without = text.replace(":4000/", "/");
            assert_eq!(without.parse::<Invitation>().unwrap().port(), 9705);
        }
    }

    #[test]
    fn each_way_to_be_wrong_has_its_own_answer() {
        let text = invitation("host", 4000).to_string();
        let token = text.rsplit('/').next().unwrap();
        let swapped = format!("pleiad://host/{}{}", &token[1..], &token[..1]);
        for (wrong, error) in [
            (String::new(), E::Scheme),
            ("host:4000".to_owned(), E::Scheme),
            (text.replace("pleiad", "https"), E::Scheme),
            ("pleiad://host:4000".to_owned(), E::NoToken),
            ("pleiad://host:4000/".to_owned(), E::NoToken),
            (text[..text.len() - 9].to_owned(), E::CutOff { missing: 9 }),
            (format!("{text}?x"), E::TooLong),
            (text.replace(token, &format!("{} {}", &token[..9], &token[9..])), E::Blank),
            (text.replace(token, &format!("{}\n{}", &token[..9], &token[9..])), E::Blank),
            (swapped, E::Typo),
            (text.replace(token, &"u".repeat(56)), E::Typo),
            (text.replace(token, &"ä".repeat(56)), E::Typo),
            (text.replace("host", ""), E::Host),
            (text.replace("host", "me@host"), E::Host),
            (text.replace("host", "::1"), E::Host),
            (text.replace("host", "[::1"), E::Host),
            (text.replace("host", "[host]"), E::Host),
            (text.replace("host", &"x".repeat(1_000_000)), E::Host),
            (text.replace("4000", "0"), E::Port),
            (text.replace("4000", "65536"), E::Port),
            (text.replace("4000", "+80"), E::Port),
            (text.replace("4000", ""), E::Port),
        ] {
            assert_eq!(wrong.parse::<Invitation>(), Err(error), "{wrong:.100}");
        }
    }

    #[test]
    fn a_wrong_character_anywhere_in_the_token_is_found() {
        let text = invitation("host", 4000).to_string();
        for at in text.len() - 56..text.len() {
            let other = if &text[at..=at] == "7" { "8" } else { "7" };
            let wrong = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(wrong.parse::<Invitation>(), Err(E::Typo), "{wrong}");
        }
    }

    #[test]
    fn debugging_prints_no_secret() {
        let invitation = invitation("host", 4000);
        let text = invitation.to_string();
        let token = text.rsplit('/').next().unwrap();
        let printed = format!("{invitation:?} {:?}", invitation.secret());
        assert!(!printed.contains(&token[30..]), "{printed}");
    }
}
