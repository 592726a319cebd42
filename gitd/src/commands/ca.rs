//! `ca`: authorities whose OpenSSH user certificates open the door. A principal names a user.

use clap::Args;
use release::Authority;
use serde::Serialize;

use super::{Env, public_key};
use crate::{
    errors::{Failure, USAGE},
    output::{self, timestamp},
};

/// List the certificate authorities, and what is revoked
#[derive(Args)]
#[command(after_help = "Example:\n  ca")]
pub(super) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Trust the authority whose public key comes on stdin: ca:add NAME < ca.pub
#[derive(Args)]
#[command(after_help = "Example:\n  ca:add office < ca.pub")]
pub(super) struct Add {
    /// What to call it; the key's own comment when absent
    name: Option<String>,
}

/// Trust an authority no longer; what its certificates have open ends
#[derive(Args)]
#[command(after_help = "Example:\n  ca:remove office")]
pub(super) struct Remove {
    /// Its name or its SHA256:... fingerprint
    authority: String,
}

/// Revoke certificates
#[derive(Args)]
#[command(after_help = "Examples:\n  ca:revoke serial:7\n  ca:revoke id:grace@laptop")]
pub(super) struct Revoke {
    /// serial:NUMBER, id:KEY-ID, or SHA256:... of the certified key
    certificate: String,
}

/// Take a revocation back
#[derive(Args)]
#[command(after_help = "Example:\n  ca:unrevoke serial:7")]
pub(super) struct Unrevoke {
    /// As `ca` shows it
    certificate: String,
}

#[derive(Serialize)]
struct Shown {
    authorities: Vec<ShownAuthority>,
    revoked: Vec<ShownRevocation>,
}

#[derive(Serialize)]
struct ShownAuthority {
    name: String,
    fingerprint: String,
    added_at: String,
}

#[derive(Serialize)]
struct ShownRevocation {
    certificate: String,
    revoked_at: String,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let ledger = env.ctx.apps.ledger();
        let authorities = ledger.authorities()?.into_iter();
        let revocations = ledger.revocations()?.into_iter();
        let shown = Shown {
            authorities: authorities
                .map(|authority| ShownAuthority {
                    name: authority.name,
                    fingerprint: authority.fingerprint,
                    added_at: timestamp(authority.added_at),
                })
                .collect(),
            revoked: revocations
                .map(|revocation| ShownRevocation {
                    certificate: revocation.what,
                    revoked_at: timestamp(revocation.revoked_at),
                })
                .collect(),
        };
        if self.json {
            return env.print_json(&shown).await;
        }
        let trusted = shown
            .authorities
            .into_iter()
            .map(|authority| vec![authority.name, authority.fingerprint, authority.added_at]);
        let revoked = shown.revoked.into_iter().map(|revoked| {
            vec![
                "revoked".to_owned(),
                revoked.certificate,
                revoked.revoked_at,
            ]
        });
        let rows: Vec<_> = trusted.chain(revoked).collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Add {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let line = public_key::read(env).await?;
        let authority = Authority {
            name: line.named(self.name.as_deref())?.to_string(),
            fingerprint: line.fingerprint,
            public: line.line,
            added_at: output::now(),
        };
        if !env.ctx.apps.ledger().add_authority(&authority)? {
            return Err(Failure::new(
                "the authority is there already, or one of its name",
            ));
        }
        env.narrate(&format!(
            "Users may log in with certificates of `{}`.",
            authority.name
        ))
        .await;
        env.print(&format!("{}\n", authority.fingerprint)).await;
        Ok(())
    }
}

impl Remove {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        if !env.ctx.apps.ledger().remove_authority(&self.authority)? {
            return Err(
                Failure::new(format!("there is no authority `{}`", self.authority))
                    .hint("Type: ca"),
            );
        }
        env.narrate(&format!("Removed `{}`.", self.authority)).await;
        Ok(())
    }
}

impl Revoke {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        if !is_a_name(&self.certificate) {
            return Err(
                Failure::new(format!("`{}` names no certificate", self.certificate))
                    .hint("Write serial:NUMBER, id:KEY-ID or SHA256:...")
                    .status(USAGE),
            );
        }
        if !env
            .ctx
            .apps
            .ledger()
            .revoke_certificate(&self.certificate)?
        {
            return Err(Failure::new(format!(
                "`{}` is revoked already",
                self.certificate
            )));
        }
        env.narrate(&format!("Revoked {}.", self.certificate)).await;
        Ok(())
    }
}

impl Unrevoke {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        if !env
            .ctx
            .apps
            .ledger()
            .unrevoke_certificate(&self.certificate)?
        {
            return Err(
                Failure::new(format!("`{}` is not revoked", self.certificate)).hint("Type: ca"),
            );
        }
        env.narrate(&format!("{} is good again.", self.certificate))
            .await;
        Ok(())
    }
}

fn is_a_name(certificate: &str) -> bool {
    match certificate.split_once(':') {
        Some(("serial", number)) => number.parse::<u64>().is_ok_and(|number| number > 0),
        Some(("id" | "SHA256", rest)) => !rest.is_empty(),
        _ => false,
    }
}
