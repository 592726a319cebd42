//! An OpenSSH certificate as plain facts.

use russh::keys::{Certificate, HashAlg, ssh_key::certificate::CertType};

use crate::platform;

pub(super) fn facts(certificate: &Certificate) -> platform::Certificate {
    platform::Certificate {
        fingerprint: certificate
            .public_key()
            .fingerprint(HashAlg::Sha256)
            .to_string(),
        authority: certificate
            .signature_key()
            .fingerprint(HashAlg::Sha256)
            .to_string(),
        for_user: certificate.cert_type() == CertType::User,
        serial: certificate.serial(),
        id: certificate.key_id().to_owned(),
        principals: certificate.valid_principals().to_vec(),
        valid_after: certificate.valid_after(),
        valid_before: certificate.valid_before(),
        critical_options: certificate.critical_options().0.clone(),
    }
}
