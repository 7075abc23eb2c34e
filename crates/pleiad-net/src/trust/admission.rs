use std::io;

use pleiad_types::limits;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::certificates::PublicKey;
use super::cluster_key::ClusterKey;
use super::exchange::{Answer, ReadError, Request, read, write};
use super::fingerprint::Fingerprint;
use super::invitation::Secret;
use super::invitations::TakeError;
use super::key_error::KeyError;

/// A machine that was let in. To be logged: by the fingerprint it may be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Of the new member's certificate.
    pub(crate) member: Fingerprint,
    /// The [id](Secret::id) of the invitation that it had.
    pub(crate) invitation: Fingerprint,
}

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmitError {
    /// The connection broke before the question was there. No invitation was used.
    #[error("the joiner has closed the connection")]
    Link(#[source] io::Error),
    /// The question did not come in time. No invitation was used.
    #[error("the joiner has not asked within 10 s")]
    Slow,
    /// What came is too long. No invitation was used.
    #[error("the joiner announces {0} bytes, 16 384 are allowed")]
    TooLong(usize),
    /// What came is something else. No invitation was used.
    #[error("the joiner does not speak our admission protocol")]
    Garbage,
    /// The joiner's invitation is not good, and it was told so.
    #[error("the joiner was refused")]
    Refused(#[source] TakeError),
    /// The certificate cannot be made, and the joiner was told so. The invitation was used.
    #[error("the joiner cannot be given a certificate")]
    Key(#[source] KeyError),
    /// The answer did not get through. The invitation was used, and the joiner needs another one.
    #[error("the answer to the joiner was lost, and its invitation is used up: make a new one")]
    AnswerLost(#[source] io::Error),
}

/// Answers a [joiner](super::Greeted::Joiner) on its connection, within 10 s.
///
/// `take` is called at most once, and uses the invitation of this secret: it calls
/// [`Invitations::take`](super::Invitations::take) and writes them down before it returns, or a
/// crash makes the use forgotten. The use counts from then on, whether the answer arrives or not:
/// were it given back when writing fails, a joiner could read its answer, break the connection,
/// and go on for ever with a one-time invitation. Who lost the answer asks for a new invitation;
/// the lost certificate is for a key that only the joiner had.
///
/// # Cancel safety
///
/// Not cancel-safe: the invitation may be used though nobody was answered.
pub(crate) async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    cluster: &ClusterKey,
    take: impl FnOnce(&Secret) -> Result<(), TakeError>,
) -> Result<Admitted, AdmitError> {
    let deadline = Instant::now() + limits::ADMISSION_TIME_MAX;
    let request: Request = match timeout_at(deadline, read(&mut stream)).await {
        Ok(Ok(request)) => request,
        Ok(Err(ReadError::Link(error))) => return Err(AdmitError::Link(error)),
        Ok(Err(ReadError::TooLong(length))) => return Err(AdmitError::TooLong(length)),
        Ok(Err(ReadError::Garbage)) => return Err(AdmitError::Garbage),
        Err(_) => return Err(AdmitError::Slow),
    };
    let secret = Secret::from_bytes(request.secret);
    let (answer, outcome) = match take(&secret) {
        Ok(()) => match cluster.sign(&PublicKey(request.public_key)) {
            Ok(certificate) => {
                let member = Fingerprint::of(&certificate);
                let answer = Answer::Admitted {
                    certificate: certificate.to_vec(),
                    authority: cluster.certificate().to_vec(),
                    cluster_name: cluster.name().to_owned(),
                };
                (answer, Ok(Admitted { member, invitation: secret.id() }))
            }
            Err(error) => (Answer::Refused(error.to_string()), Err(AdmitError::Key(error))),
        },
        Err(error) => (Answer::Refused(error.to_string()), Err(AdmitError::Refused(error))),
    };
    let sent = timeout_at(deadline, async {
        write(&mut stream, &answer).await?;
        stream.shutdown().await
    });
    let sent = sent.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match (outcome, sent) {
        (Ok(_), Err(error)) => Err(AdmitError::AnswerLost(error)),
        (outcome, _) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::super::Invitations;
    use super::*;

    const HERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn nobody(_: &Secret) -> Result<(), TakeError> {
        panic!("an invitation was used")
    }

    async fn admit_bytes(bytes: &[u8]) -> AdmitError {
        let cluster = ClusterKey::create("home").unwrap();
        let (mut joiner, node) = duplex(1 << 17);
        joiner.write_all(bytes).await.unwrap();
        joiner.shutdown().await.unwrap();
        admit(node, &cluster, nobody).await.unwrap_err()
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        [&u16::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
    }

    #[tokio::test]
    async fn what_is_too_long_is_refused_before_it_is_read() {
        let error = admit_bytes(&[0x40, 0x01]).await;
        assert!(matches!(error, AdmitError::TooLong(16_385)), "{error:?}");
        let error = admit_bytes(&[0xff; 70_000]).await;
        assert!(matches!(error, AdmitError::TooLong(65_535)), "{error:?}");
    }

    #[tokio::test]
    async fn garbage_uses_no_invitation() {
        let request = postcard::to_allocvec(&Request { secret: [1; 16], public_key: [2; 32] });
        let request = request.unwrap();
        let longer = [&request[..], &[0]].concat();
        for body in [&b""[..], b"x", &[0xff; 16_384], &request[..47], &longer] {
            let error = admit_bytes(&framed(body)).await;
            assert!(matches!(error, AdmitError::Garbage), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_question_that_is_cut_off_uses_no_invitation() {
        let request = postcard::to_allocvec(&Request { secret: [1; 16], public_key: [2; 32] });
        let frame = framed(&request.unwrap());
        for length in 0..frame.len() {
            let error = admit_bytes(&frame[..length]).await;
            assert!(matches!(error, AdmitError::Link(_)), "{length}: {error:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_joiner_that_says_nothing_is_left_after_ten_seconds() {
        let cluster = ClusterKey::create("home").unwrap();
        let (_joiner, node) = duplex(64);
        let start = Instant::now();

        let error = admit(node, &cluster, nobody).await.unwrap_err();
        assert!(matches!(error, AdmitError::Slow), "{error:?}");
        assert_eq!(start.elapsed(), limits::ADMISSION_TIME_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_read_costs_the_invitation() {
        let cluster = ClusterKey::create("home").unwrap();
        let mut book = Invitations::default();
        let secret = book.issue(1, limits::INVITATION_AGE, 0).unwrap();
        let (mut joiner, node) = duplex(64);
        let request = Request { secret: *secret.as_bytes(), public_key: [2; 32] };
        write(&mut joiner, &request).await.unwrap();

        let error = admit(node, &cluster, |secret| book.take(secret, HERE, 0)).await.unwrap_err();
        assert!(matches!(error, AdmitError::AnswerLost(_)), "{error:?}");
        assert_eq!(book.take(&secret, HERE, 0), Err(TakeError::UsedUp));
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_words() {
        let cluster = ClusterKey::create("home").unwrap();
        let (mut joiner, node) = duplex(1024);
        write(&mut joiner, &Request { secret: [1; 16], public_key: [2; 32] }).await.unwrap();

        let error = admit(node, &cluster, |_| Err(TakeError::Expired)).await.unwrap_err();
        assert!(matches!(error, AdmitError::Refused(TakeError::Expired)), "{error:?}");
        let answer: Answer = read(&mut joiner).await.unwrap();
        let Answer::Refused(text) = answer else { panic!("{answer:?}") };
        assert_eq!(text, "this invitation has expired: ask for a new one");
        assert_eq!(joiner.read(&mut [0]).await.unwrap(), 0);
    }
}
