//! Whose key is this? A copy of what the ledger knows of people, in memory: it is asked for each key that anyone offers.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use release::{Holder, Ledger, LedgerError};

use super::certificate;
use crate::platform::{Caller, Certificate, Proof};

#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// Of the ledger's people when the copy was made.
    pub(crate) version: u64,
    keys: HashMap<String, Key>,
    /// Whether they are administrators.
    users: HashMap<String, bool>,
    authorities: HashSet<String>,
    revoked: HashSet<String>,
}

#[derive(Debug)]
struct Key {
    name: String,
    holder: Holder,
    expires_at: Option<u64>,
}

impl Directory {
    pub(crate) fn load(ledger: &Ledger) -> Result<Self, LedgerError> {
        // First, so that a change while we read leads to another reading.
        let version = ledger.people_version();
        let keys = ledger.keys()?.into_iter().map(|key| {
            let known = Key {
                name: key.name,
                holder: key.holder,
                expires_at: key.expires_at,
            };
            (key.fingerprint, known)
        });
        let users = ledger
            .users()?
            .into_iter()
            .map(|user| (user.name, user.admin));
        let authorities = ledger.authorities()?.into_iter();
        let revoked = ledger.revocations()?.into_iter();
        Ok(Self {
            version,
            keys: keys.collect(),
            users: users.collect(),
            authorities: authorities.map(|authority| authority.fingerprint).collect(),
            revoked: revoked.map(|revocation| revocation.what).collect(),
        })
    }

    /// `now` in seconds since the Unix epoch. `None`: nobody whom we know, or no longer.
    pub(crate) fn caller(&self, proof: &Proof, remote: SocketAddr, now: u64) -> Option<Caller> {
        let (fingerprint, user, holder) = match proof {
            Proof::Key(fingerprint) => {
                let key = self.keys.get(fingerprint)?;
                if key.expires_at.is_some_and(|end| end <= now) {
                    return None;
                }
                (fingerprint, key.user(), key.holder.clone())
            }
            Proof::Certificate(certificate) => {
                let user = self.certified(certificate, remote, now)?.to_owned();
                (&certificate.fingerprint, user.clone(), Holder::User(user))
            }
        };
        Some(Caller {
            admin: matches!(&holder, Holder::User(name) if self.is_admin(name)),
            user,
            fingerprint: fingerprint.clone(),
            remote,
            holder,
        })
    }

    fn certified<'c>(
        &self,
        certificate: &'c Certificate,
        remote: SocketAddr,
        now: u64,
    ) -> Option<&'c str> {
        let checked = certificate::user(certificate, self, remote.ip(), now);
        checked
            .inspect_err(|why| {
                let Certificate { id, serial, .. } = certificate;
                tracing::info!(%remote, id, serial, %why, "a certificate was refused");
            })
            .ok()
    }

    pub(crate) fn is_admin(&self, user: &str) -> bool {
        self.users.get(user).copied().unwrap_or(false)
    }

    pub(super) fn knows(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    pub(super) fn trusts(&self, authority: &str) -> bool {
        self.authorities.contains(authority)
    }

    pub(super) fn revoked(&self, what: &str) -> bool {
        self.revoked.contains(what)
    }

    pub(crate) fn has_authorities(&self) -> bool {
        !self.authorities.is_empty()
    }

    #[cfg(test)]
    pub(super) fn of(users: &[&str], authorities: &[&str], revoked: &[&str]) -> Self {
        let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            users: users
                .iter()
                .map(|user| ((*user).to_owned(), false))
                .collect(),
            authorities: set(authorities),
            revoked: set(revoked),
            ..Self::default()
        }
    }
}

impl Key {
    /// For the records.
    fn user(&self) -> String {
        match &self.holder {
            Holder::User(name) => name.clone(),
            Holder::App { .. } => format!("{} (deploy key)", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use release::{Role, UserName};

    use super::*;

    #[test]
    fn a_key_opens_the_door_until_it_expires_and_says_whose_it_is() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let ledger = Ledger::open(&dir.path().join("ledger.db")).expect("opens");
        let ann: UserName = "ann".parse().expect("a name");
        ledger.add_user(&ann, true).expect("adds");
        let add = |fingerprint: &str, expires_at| {
            let key = release::Key {
                fingerprint: fingerprint.into(),
                name: "desk".into(),
                holder: Holder::User("ann".into()),
                public: "ssh-ed25519 AAAA".into(),
                added_at: 1,
                expires_at,
            };
            assert!(ledger.add_key(&key).expect("adds"));
        };
        add("SHA256:1", None);
        add("SHA256:2", Some(100));
        let directory = Directory::load(&ledger).expect("loads");
        let caller = |fingerprint: &str, now| {
            let proof = Proof::Key(fingerprint.to_owned());
            directory.caller(&proof, ([192, 0, 2, 1], 1).into(), now)
        };
        assert!(caller("SHA256:1", 1_000_000).is_some_and(|caller| caller.admin));
        assert!(caller("SHA256:2", 99).is_some_and(|caller| caller.user == "ann"));
        assert_eq!(caller("SHA256:2", 100), None);
        assert_eq!(caller("SHA256:3", 1), None);
    }

    #[test]
    fn a_deploy_key_of_a_user_s_name_is_not_the_user() {
        let key = Key {
            name: "ann".into(),
            holder: Holder::App {
                id: 1,
                role: Role::Deployer,
            },
            expires_at: None,
        };
        let mut directory = Directory::default();
        directory.users.insert("ann".into(), true);
        directory.keys.insert("SHA256:1".into(), key);
        let proof = Proof::Key("SHA256:1".into());
        let caller = directory.caller(&proof, ([192, 0, 2, 1], 1).into(), 1);
        assert!(caller.is_some_and(|caller| !caller.admin && caller.user == "ann (deploy key)"));
    }
}
