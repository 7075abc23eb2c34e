//! The two kinds of certificates that a cluster has: its authority's, and those of its members.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SerialNumber,
    SignatureAlgorithm, date_time_ymd,
};

use super::fingerprint::{BASE32, hash};
use super::key_error::KeyError;

/// The name in every member's certificate. Who a peer is, its fingerprint tells.
pub(super) const NODE_NAME: &str = "node.pleiad";

/// A certificate starts this long before it is made, so that a machine whose clock is a day behind
/// takes it.
const BACKDATED: Duration = Duration::from_secs(2 * 86_400);

/// An authority does not age: a cluster ends when its key is removed.
const AUTHORITY_AGE: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A member's certificate outlives the machine; what ends it earlier is a revocation.
const MEMBER_AGE: Duration = Duration::from_secs(10 * 365 * 86_400);

pub(super) fn new_key() -> Result<KeyPair, KeyError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(KeyError::crypto)
}

/// What an authority of this name and key is called. It follows from both, so that it need not be
/// read out of a certificate; two clusters of one name are different.
pub(super) fn authority_params(name: &str, key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "pleiad");
    params.distinguished_name.push(DnType::CommonName, name);
    let id = BASE32.encode(&hash(key.public_key_raw())[..10]);
    params.distinguished_name.push(DnType::OrganizationalUnitName, id);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub(super) fn sign_authority(name: &str, key: &KeyPair) -> Result<Certificate, KeyError> {
    let mut params = authority_params(name, key);
    valid_for(&mut params, AUTHORITY_AGE);
    params.serial_number = Some(random_serial()?);
    params.self_signed(key).map_err(KeyError::crypto)
}

/// A member's certificate for a public key.
pub(super) fn sign_member(
    key: &impl PublicKeyData,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<Certificate, KeyError> {
    let mut params = member_params()?;
    valid_for(&mut params, MEMBER_AGE);
    params.signed_by(key, issuer).map_err(KeyError::crypto)
}

pub(super) fn member_params() -> Result<CertificateParams, KeyError> {
    let mut params =
        CertificateParams::new(vec![NODE_NAME.to_owned()]).map_err(KeyError::crypto)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NODE_NAME);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

/// A public key that a joiner has sent. Every 32 bytes are one in form, so there is nothing to
/// parse; whoever has not the private key has no use of the certificate.
pub(super) struct PublicKey(pub(super) [u8; 32]);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

fn valid_for(params: &mut CertificateParams, age: Duration) {
    // A clock beyond the year 3000 would take the end of the validity out of what X.509 can say.
    const YEAR_3000: Duration = Duration::from_secs(1030 * 365 * 86_400);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().min(YEAR_3000);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + age;
}

fn random_serial() -> Result<SerialNumber, KeyError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(KeyError::crypto)?;
    // X.509 wants a positive number without leading zero bytes.
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}
