//! `keys`: the SSH public keys that open the door. Each user has some; an app may have deploy keys.

use clap::Args;
use release::{AppName, Holder, Key, LedgerError, Role, UserName};
use serde::Serialize;

use super::{
    Env,
    public_key::{self, PublicKeyLine},
};
use crate::{
    access::Need,
    errors::{Failure, USAGE},
    expiry::Lifetime,
    output::{self, timestamp},
};

/// List your keys; an administrator sees everybody's
#[derive(Args)]
#[command(after_help = "Examples:\n  keys\n  keys --app shop")]
pub(super) struct List {
    /// The deploy keys of an app
    #[arg(short, long)]
    app: Option<AppName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Add the public key that comes on stdin: keys:add NAME < ~/.ssh/id_ed25519.pub
#[derive(Args)]
#[command(
    after_help = "Examples:\n  keys:add laptop < ~/.ssh/id_ed25519.pub\n  keys:add --user grace < grace.pub\n  keys:add ci --app shop --role deployer --expires 30d < ci.pub"
)]
pub(super) struct Add {
    /// What to call it; the key's own comment when absent
    name: Option<String>,
    /// For another user
    #[arg(short, long, conflicts_with = "app")]
    user: Option<UserName>,
    /// A deploy key: for a machine, and this app only
    #[arg(short, long)]
    app: Option<AppName>,
    /// Of a deploy key: viewer, deployer or operator
    #[arg(short, long, requires = "app", default_value_t = Role::Deployer)]
    role: Role,
    /// After which time it opens nothing: 12h, 30d, 1y
    #[arg(short, long, value_name = "TIME")]
    expires: Option<Lifetime>,
}

/// Remove a key; what it has open ends
#[derive(Args)]
#[command(after_help = "Examples:\n  keys:remove laptop\n  keys:remove ci --app shop")]
pub(super) struct Remove {
    /// Its name or its SHA256:... fingerprint
    key: String,
    /// Of another user
    #[arg(short, long, conflicts_with = "app")]
    user: Option<UserName>,
    /// A deploy key of this app
    #[arg(short, long)]
    app: Option<AppName>,
}

/// Of one user, and deploy keys of one app: all of them are kept in memory.
const KEYS_MAX: usize = 100;

#[derive(Serialize)]
struct Shown {
    name: String,
    fingerprint: String,
    /// `None` for a deploy key.
    user: Option<String>,
    app: Option<String>,
    role: Option<Role>,
    added_at: String,
    expires_at: Option<String>,
}

/// Whose keys are asked for takes different rights.
fn need(user: Option<&UserName>, app: Option<&AppName>) -> Need {
    match (user, app) {
        (_, Some(app)) => Need::App(app.clone(), Role::Owner),
        (Some(_), None) => Need::Admin,
        (None, None) => Need::User,
    }
}

impl List {
    pub(super) fn need(&self) -> Need {
        need(None, self.app.as_ref())
    }

    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let keys = match (&self.app, env.caller.admin) {
            (None, true) => env.ctx.apps.ledger().keys()?,
            (app, _) => of(env, None, app.as_ref())?,
        };
        let apps = env.ctx.apps.ledger().apps()?;
        let app_name = |id| {
            let app = apps.iter().find(|app| app.id == id);
            app.map(|app| app.name.to_string())
        };
        let shown: Vec<Shown> = keys
            .into_iter()
            .map(|key| Shown::new(key, app_name))
            .collect();
        if self.json {
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = shown.into_iter().map(Shown::row).collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Add {
    pub(super) fn need(&self) -> Need {
        need(self.user.as_ref(), self.app.as_ref())
    }

    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let line = public_key::read(env).await?;
        let holder = self.holder(env)?;
        let key = key(line, self.name.as_deref(), holder, self.expires)?;
        if held_beside(&key, &env.ctx.apps.ledger().keys()?) >= KEYS_MAX {
            return Err(Failure::new(format!("there are {KEYS_MAX} keys already"))
                .hint("Remove one first: keys:remove NAME"));
        }
        if !env.ctx.apps.ledger().add_key(&key)? {
            return Err(Failure::new(format!(
                "the key {} is there already",
                key.fingerprint
            )));
        }
        let whose = match (&key.holder, &self.app) {
            (Holder::App { role, .. }, Some(app)) => format!("a deploy key, {role} of `{app}`"),
            (Holder::User(user), _) if *user == env.caller.user => "a key of yours".to_owned(),
            (Holder::User(user), _) => format!("a key of `{user}`"),
            (Holder::App { .. }, None) => "a deploy key".to_owned(),
        };
        let until = key
            .expires_at
            .map_or_else(String::new, |end| format!(", until {}", timestamp(end)));
        env.narrate(&format!("Added `{}`, {whose}{until}.", key.name))
            .await;
        env.print(&format!("{}\n", key.fingerprint)).await;
        Ok(())
    }

    fn holder(&self, env: &Env<'_>) -> Result<Holder, Failure> {
        let ledger = env.ctx.apps.ledger();
        match (&self.user, &self.app) {
            (_, Some(_)) if self.role == Role::Owner => Err(Failure::new(
                "a deploy key is no owner: whoever found it could let others in",
            )
            .status(USAGE)),
            (_, Some(app)) => Ok(Holder::App {
                id: ledger.app(app)?.id,
                role: self.role,
            }),
            (Some(name), None)
                if !ledger
                    .users()?
                    .iter()
                    .any(|user| user.name == name.as_str()) =>
            {
                Err(Failure::from(LedgerError::NoUser(name.clone())).hint("Type: users:add NAME"))
            }
            (Some(name), None) => Ok(Holder::User(name.to_string())),
            (None, None) => Ok(env.caller.holder.clone()),
        }
    }
}

impl Remove {
    pub(super) fn need(&self) -> Need {
        need(self.user.as_ref(), self.app.as_ref())
    }

    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let named = |key: &Key| key.name == self.key || key.fingerprint == self.key;
        let mut found = of(env, self.user.as_ref(), self.app.as_ref())?;
        found.retain(named);
        // An administrator need not say whose.
        if found.is_empty() && env.caller.admin && self.user.is_none() && self.app.is_none() {
            found = env.ctx.apps.ledger().keys()?;
            found.retain(named);
        }
        let key = match &found[..] {
            [] => {
                return Err(
                    Failure::new(format!("there is no key `{}`", self.key)).hint("Type: keys")
                );
            }
            [key] => key,
            several => {
                let prints: Vec<_> = several.iter().map(|key| key.fingerprint.as_str()).collect();
                let hint = format!("Name one by its fingerprint:\n{}", prints.join("\n"));
                return Err(Failure::new(format!(
                    "{} keys are called `{}`",
                    several.len(),
                    self.key
                ))
                .hint(&hint));
            }
        };
        match env.ctx.apps.ledger().remove_key(&key.fingerprint) {
            Err(LedgerError::LastAdmin) => Err(Failure::new(
                "this is the last key of an administrator; without it nobody could administer",
            )
            .hint("Add another one first: keys:add NAME < key.pub")),
            removed => Ok(removed?),
        }?;
        env.narrate(&format!("Removed {}.", key.fingerprint)).await;
        Ok(())
    }
}

/// The deploy keys of the app, or the keys of the user, or of the caller.
fn of(env: &Env<'_>, user: Option<&UserName>, app: Option<&AppName>) -> Result<Vec<Key>, Failure> {
    let ledger = env.ctx.apps.ledger();
    let app = app
        .map(|app| ledger.app(app))
        .transpose()?
        .map(|app| app.id);
    let user = user.map(|user| Holder::User(user.to_string()));
    let mut keys = ledger.keys()?;
    keys.retain(|key| match (&key.holder, app) {
        (Holder::App { id, .. }, Some(app)) => *id == app,
        (_, Some(_)) => false,
        (holder, None) => holder == user.as_ref().unwrap_or(&env.caller.holder),
    });
    Ok(keys)
}

fn held_beside(new: &Key, keys: &[Key]) -> usize {
    let beside = |key: &&Key| match (&key.holder, &new.holder) {
        (Holder::App { id, .. }, Holder::App { id: of, .. }) => id == of,
        (one, other) => one == other,
    };
    keys.iter().filter(beside).count()
}

fn key(
    line: PublicKeyLine,
    name: Option<&str>,
    holder: Holder,
    lifetime: Option<Lifetime>,
) -> Result<Key, Failure> {
    let added_at = output::now();
    Ok(Key {
        name: line.named(name)?.to_string(),
        fingerprint: line.fingerprint,
        holder,
        public: line.line,
        added_at,
        expires_at: lifetime.map(|lifetime| added_at.saturating_add(lifetime.seconds())),
    })
}

impl Shown {
    fn new(key: Key, app_name: impl Fn(i64) -> Option<String>) -> Self {
        let (user, app, role) = match key.holder {
            Holder::User(user) => (Some(user), None, None),
            Holder::App { id, role } => (None, app_name(id), Some(role)),
        };
        Self {
            name: key.name,
            fingerprint: key.fingerprint,
            user,
            app,
            role,
            added_at: timestamp(key.added_at),
            expires_at: key.expires_at.map(timestamp),
        }
    }

    fn row(self) -> Vec<String> {
        let whose = match (self.user, self.role) {
            (Some(user), _) => user,
            (None, Some(role)) => format!("{role} of {}", self.app.unwrap_or_default()),
            (None, None) => String::new(),
        };
        let until = self
            .expires_at
            .map_or_else(String::new, |end| format!("until {end}"));
        vec![self.name, self.fingerprint, whose, self.added_at, until]
    }
}
