//! Does an OpenSSH user certificate open the door, and for whom (OpenSSH, PROTOCOL.certkeys)?
//!
//! That the certificate is signed by the authority that it names, and that the client holds the key, is known by now;
//! everything else is looked at here.

use std::net::IpAddr;

use super::Directory;
use crate::{network::Network, platform::Certificate};

/// From where the certificate may be used; a list with commas.
const SOURCE_ADDRESS: &str = "source-address";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("its authority {0} is not one of ours")]
    Authority(String),
    #[error("it is a host's")]
    NotAUsers,
    #[error("it is not valid yet, or no longer")]
    Time,
    #[error("it is revoked")]
    Revoked,
    #[error("we do not know its critical option `{0}`")]
    Option(String),
    #[error("it may not be used from here")]
    Source,
    #[error("none of its principals is a user")]
    Principals,
}

/// The user is the first principal that is one. A certificate without principals is for nobody, though OpenSSH's own
/// meaning is everybody.
pub(super) fn user<'c>(
    certificate: &'c Certificate,
    directory: &Directory,
    from: IpAddr,
    now: u64,
) -> Result<&'c str, Refused> {
    if !directory.trusts(&certificate.authority) {
        return Err(Refused::Authority(certificate.authority.clone()));
    }
    if !certificate.for_user {
        return Err(Refused::NotAUsers);
    }
    if !(certificate.valid_after..certificate.valid_before).contains(&now) {
        return Err(Refused::Time);
    }
    if revocations(certificate)
        .iter()
        .any(|what| directory.revoked(what))
    {
        return Err(Refused::Revoked);
    }
    for (name, value) in &certificate.critical_options {
        match name.as_str() {
            SOURCE_ADDRESS if may_come_from(value, from) => {}
            SOURCE_ADDRESS => return Err(Refused::Source),
            _ => return Err(Refused::Option(name.clone())),
        }
    }
    let mut principals = certificate.principals.iter();
    principals
        .find(|name| directory.knows(name))
        .map(String::as_str)
        .ok_or(Refused::Principals)
}

/// The names by which it may have been revoked. A serial of zero is none.
fn revocations(certificate: &Certificate) -> Vec<String> {
    let serial = (certificate.serial > 0).then(|| format!("serial:{}", certificate.serial));
    let names = [
        format!("id:{}", certificate.id),
        certificate.fingerprint.clone(),
    ];
    serial.into_iter().chain(names).collect()
}

/// A list that cannot be read allows nothing.
fn may_come_from(list: &str, from: IpAddr) -> bool {
    let networks: Result<Vec<Network>, _> = list.split(',').map(str::parse).collect();
    networks.is_ok_and(|networks| networks.iter().any(|network| network.contains(from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Certificate {
        Certificate {
            fingerprint: "SHA256:key".into(),
            authority: "SHA256:ca".into(),
            for_user: true,
            serial: 7,
            id: "ann@laptop".into(),
            principals: vec!["root".into(), "ann".into(), "bob".into()],
            valid_after: 100,
            valid_before: 200,
            critical_options: [(
                SOURCE_ADDRESS.to_owned(),
                "198.51.100.0/24,192.0.2.0/24".to_owned(),
            )]
            .into(),
        }
    }

    #[test]
    fn each_fault_is_enough() {
        let check =
            |spoil: fn(&mut Certificate), revoked: &[&str], expected: Result<&str, Refused>| {
                let mut certificate = good();
                spoil(&mut certificate);
                let directory = Directory::of(&["ann", "bob"], &["SHA256:ca"], revoked);
                let from = "192.0.2.9".parse().expect("an address");
                assert_eq!(user(&certificate, &directory, from, 150), expected);
            };
        let option = |name: &str| Err(Refused::Option(name.to_owned()));
        check(|_| {}, &[], Ok("ann"));
        check(|_| {}, &["serial:8", "id:ann"], Ok("ann"));
        check(
            |c| c.authority = "SHA256:other".into(),
            &[],
            Err(Refused::Authority("SHA256:other".into())),
        );
        check(|c| c.for_user = false, &[], Err(Refused::NotAUsers));
        check(|c| c.valid_before = 150, &[], Err(Refused::Time));
        check(|c| c.valid_after = 151, &[], Err(Refused::Time));
        check(
            |c| c.principals = vec!["root".into()],
            &[],
            Err(Refused::Principals),
        );
        check(|c| c.principals.clear(), &[], Err(Refused::Principals));
        for revoked in ["serial:7", "id:ann@laptop", "SHA256:key"] {
            check(|_| {}, &[revoked], Err(Refused::Revoked));
        }
        check(|c| c.serial = 0, &["serial:0"], Ok("ann"));
        check(
            |c| {
                _ = c
                    .critical_options
                    .insert("force-command".into(), "id".into())
            },
            &[],
            option("force-command"),
        );
        check(
            |c| {
                _ = c
                    .critical_options
                    .insert("verify-required".into(), String::new())
            },
            &[],
            option("verify-required"),
        );
        for elsewhere in ["198.51.100.0/24", "", "192.0.2.9,nonsense", "192.0.2.9/"] {
            let mut certificate = good();
            _ = certificate
                .critical_options
                .insert(SOURCE_ADDRESS.into(), elsewhere.into());
            let directory = Directory::of(&["ann"], &["SHA256:ca"], &[]);
            let from = "192.0.2.9".parse().expect("an address");
            assert_eq!(
                user(&certificate, &directory, from, 150),
                Err(Refused::Source),
                "{elsewhere}"
            );
        }
    }
}
