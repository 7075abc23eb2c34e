use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use pleiad_types::limits;
use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::invitation::Secret;

/// The invitations that a node has given and not yet seen the last of.
///
/// It is told the time, in seconds since 1970. Only hashes of the secrets are kept. To survive a
/// restart, it is to be written down after each [`issue`](Self::issue), [`take`](Self::take) and
/// [`revoke`](Self::revoke); who has sent wrong secrets is forgotten then.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Invitations {
    // Invariant: at most limits::INVITATIONS_MAX entries, in the order in which they were issued.
    issued: Vec<Issued>,
    // Invariant: at most limits::WRONG_ADDRESSES_MAX entries.
    #[serde(skip)]
    wrong: BTreeMap<IpAddr, Wrong>,
}

/// An invitation as the node knows it that has given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    id: [u8; 16],
    uses_left: u32,
    expires: u64,
}

#[derive(Debug)]
struct Wrong {
    count: u32,
    last: u64,
}

/// Why an invitation was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// Too many wait to be used.
    #[error("there are 1000 unused invitations: revoke some first")]
    Full,
    /// It would be of no use.
    #[error("an invitation has 1 to 10 000 uses and an age of at least a second")]
    Terms,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// Why a secret does not let anybody in. The text is for who has sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// No such invitation; or it was revoked, or forgotten long after its end.
    #[error("this invitation is not known here, or was revoked: ask for a new one")]
    Unknown,
    /// It was too old.
    #[error("this invitation has expired: ask for a new one")]
    Expired,
    /// Others were faster, or the answer to the same machine was lost.
    #[error("this invitation was already used: ask for a new one")]
    UsedUp,
    /// Too many wrong secrets came from this address.
    #[error("too many wrong invitations came from your address: wait {seconds} s")]
    Wait {
        /// How long.
        seconds: u64,
    },
    /// The inviting node cannot write down that the invitation was used. It was not used.
    #[error("the inviting node cannot write to its disk: mend that, and try again")]
    NotKept,
}

impl Invitations {
    /// Gives an invitation for `uses` machines (usually one), to be used within `age` (usually
    /// [`INVITATION_AGE`](limits::INVITATION_AGE)). The secret cannot be asked for again.
    ///
    /// # Errors
    ///
    /// [`IssueError`]; nothing was given.
    pub fn issue(&mut self, uses: u32, age: Duration, now: u64) -> Result<Secret, IssueError> {
        if !(1..=limits::INVITATION_USES_MAX).contains(&uses) || age.as_secs() == 0 {
            return Err(IssueError::Terms);
        }
        if self.issued.len() >= limits::INVITATIONS_MAX {
            self.issued.retain(|issued| issued.uses_left > 0 && now < issued.expires);
        }
        if self.issued.len() >= limits::INVITATIONS_MAX {
            return Err(IssueError::Full);
        }
        let secret = Secret::random().map_err(|_| IssueError::NoRandom)?;
        let id = *secret.id().as_bytes();
        self.issued.push(Issued {
            id,
            uses_left: uses,
            expires: now.saturating_add(age.as_secs()),
        });
        Ok(secret)
    }

    /// Uses an invitation once, for somebody at this address.
    ///
    /// # Errors
    ///
    /// [`TakeError`]; nothing was used. After [`WRONG_SECRETS_MAX`](limits::WRONG_SECRETS_MAX)
    /// unknown secrets, an address (for IPv6, a network of 64 bit) has to wait before it is heard.
    pub fn take(&mut self, secret: &Secret, from: IpAddr, now: u64) -> Result<(), TakeError> {
        let from = network_of(from);
        self.refuse_if_waiting(from, now)?;
        // Looking up the hash takes as long for a nearly right secret as for any other.
        let id = secret.id();
        let Some(issued) = self.issued.iter_mut().find(|issued| issued.id == *id.as_bytes()) else {
            self.count_wrong(from, now);
            return Err(TakeError::Unknown);
        };
        if issued.uses_left == 0 {
            return Err(TakeError::UsedUp);
        }
        if now >= issued.expires {
            return Err(TakeError::Expired);
        }
        issued.uses_left -= 1;
        self.wrong.remove(&from);
        Ok(())
    }

    /// Takes an invitation back. False if there is none with this [id](Secret::id).
    pub fn revoke(&mut self, id: Fingerprint) -> bool {
        let before = self.issued.len();
        self.issued.retain(|issued| issued.id != *id.as_bytes());
        self.issued.len() < before
    }

    /// All that are known, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Issued> {
        self.issued.iter()
    }

    fn refuse_if_waiting(&mut self, from: IpAddr, now: u64) -> Result<(), TakeError> {
        let wait = limits::WRONG_SECRETS_WAIT.as_secs();
        let Some(wrong) = self.wrong.get(&from) else { return Ok(()) };
        // A clock that was set back must not make anybody wait for longer.
        if now >= wrong.last + wait || now < wrong.last {
            self.wrong.remove(&from);
            return Ok(());
        }
        if wrong.count < limits::WRONG_SECRETS_MAX {
            return Ok(());
        }
        Err(TakeError::Wait { seconds: wrong.last + wait - now })
    }

    fn count_wrong(&mut self, from: IpAddr, now: u64) {
        if self.wrong.len() >= limits::WRONG_ADDRESSES_MAX && !self.wrong.contains_key(&from) {
            let oldest = self.wrong.iter().min_by_key(|(_, wrong)| wrong.last);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.wrong.remove(&oldest);
            }
        }
        let wrong = self.wrong.entry(from).or_insert(Wrong { count: 0, last: now });
        wrong.count += 1;
        wrong.last = now;
    }
}

impl Issued {
    /// By which it may be [revoked](Invitations::revoke).
    pub fn id(&self) -> Fingerprint {
        Fingerprint::from_bytes(self.id)
    }

    /// Machines that it may still admit.
    pub fn uses_left(&self) -> u32 {
        self.uses_left
    }

    /// When it expires, in seconds since 1970.
    pub fn expires(&self) -> u64 {
        self.expires
    }
}

/// Whoever has one IPv6 address usually has a network of 64 bit.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: u64 = 1_800_000_000;

    #[test]
    fn an_invitation_admits_as_many_as_it_says() {
        let mut book = Invitations::default();
        let once = book.issue(1, DAY, NOW).unwrap();
        let twice = book.issue(2, DAY, NOW).unwrap();

        assert_eq!(book.take(&once, HERE, NOW), Ok(()));
        assert_eq!(book.take(&once, HERE, NOW), Err(TakeError::UsedUp));
        assert_eq!(book.take(&twice, HERE, NOW + 86_399), Ok(()));
        assert_eq!(book.take(&twice, HERE, NOW + 86_399), Ok(()));
        assert_eq!(book.take(&twice, HERE, NOW + 86_399), Err(TakeError::UsedUp));
    }

    #[test]
    fn an_invitation_ends_with_its_age_or_when_it_is_revoked() {
        let mut book = Invitations::default();
        let old = book.issue(1, DAY, NOW).unwrap();
        let revoked = book.issue(1, DAY, NOW).unwrap();

        assert_eq!(book.take(&old, HERE, NOW + 86_400), Err(TakeError::Expired));
        assert!(book.revoke(revoked.id()) && !book.revoke(revoked.id()));
        assert_eq!(book.take(&revoked, HERE, NOW), Err(TakeError::Unknown));
        assert_eq!(book.iter().map(Issued::id).collect::<Vec<_>>(), [old.id()]);
    }

    #[test]
    fn after_five_wrong_secrets_an_address_waits_and_others_do_not() {
        let mut book = Invitations::default();
        let good = book.issue(9, DAY, NOW).unwrap();
        let bad = Secret::from_bytes([7; 16]);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2:1".parse().unwrap();
        let other: IpAddr = "2001:db8:0:1::1".parse().unwrap();

        for _ in 0..4 {
            assert_eq!(book.take(&bad, one, NOW), Err(TakeError::Unknown));
        }
        assert_eq!(book.take(&good, one, NOW), Ok(()), "a success forgives");
        for second in 0..5 {
            assert_eq!(book.take(&bad, one, NOW + second), Err(TakeError::Unknown));
        }
        let wait = Err(TakeError::Wait { seconds: 54 });
        assert_eq!(book.take(&good, one, NOW + 10), wait);
        assert_eq!(book.take(&good, neighbour, NOW + 10), wait);
        assert_eq!(book.take(&good, other, NOW + 10), Ok(()));
        assert_eq!(book.take(&good, HERE, NOW + 10), Ok(()));
        assert_eq!(book.take(&good, one, NOW + 64), Ok(()));
    }

    #[test]
    fn a_clock_set_back_ends_the_waiting() {
        let mut book = Invitations::default();
        let good = book.issue(1, DAY, NOW - 86_400).unwrap();
        for _ in 0..5 {
            book.take(&Secret::from_bytes([7; 16]), HERE, NOW).unwrap_err();
        }
        assert_eq!(book.take(&good, HERE, NOW - 3600), Ok(()));
    }

    #[test]
    fn the_memory_for_strangers_is_bounded() {
        let mut book = Invitations::default();
        for n in 0..3000_u32 {
            let from = IpAddr::V4(n.into());
            book.take(&Secret::from_bytes([7; 16]), from, NOW + u64::from(n)).unwrap_err();
        }
        assert_eq!(book.wrong.len(), limits::WRONG_ADDRESSES_MAX);
        assert!(book.wrong.contains_key(&IpAddr::V4(2999.into())));
    }

    #[test]
    fn a_full_book_drops_what_is_over_and_refuses_more() {
        let mut book = Invitations::default();
        let used = book.issue(1, DAY, NOW).unwrap();
        book.take(&used, HERE, NOW).unwrap();
        for _ in 1..limits::INVITATIONS_MAX {
            book.issue(1, DAY, NOW).unwrap();
        }
        book.issue(1, DAY, NOW).unwrap();
        assert_eq!(book.issue(1, DAY, NOW), Err(IssueError::Full));
        assert_eq!(book.issue(0, DAY, NOW), Err(IssueError::Terms));
        assert_eq!(book.issue(1, Duration::ZERO, NOW), Err(IssueError::Terms));
        book.issue(1, DAY, NOW + 86_400).unwrap();
        assert_eq!(book.iter().count(), 1);
    }

    #[test]
    fn what_was_written_down_is_the_same_after_a_restart_and_holds_no_secret() {
        let mut book = Invitations::default();
        let secret = book.issue(2, DAY, NOW).unwrap();
        book.take(&secret, HERE, NOW).unwrap();

        let text = serde_json::to_string(&book).unwrap();
        let secret_text = serde_json::to_string(secret.as_bytes()).unwrap();
        assert!(!text.contains(&secret_text));
        let mut book: Invitations = serde_json::from_str(&text).unwrap();
        assert_eq!(book.take(&secret, HERE, NOW), Ok(()));
        assert_eq!(book.take(&secret, HERE, NOW), Err(TakeError::UsedUp));
    }
}
