//! Who may do what. There is one check, and it says no unless something says yes.
//!
//! A client proves to hold a key; the `directory` says whose it is, for certificates after all that `certificate`
//! looks at. What the caller then asks for has a [`Need`], and [`allows`] compares the two. Git's door and the
//! commands' dispatcher ask it, and nobody else.

mod certificate;
mod directory;

use release::{AppName, Holder, Ledger, LedgerError, Role};

use crate::Caller;

pub(crate) use directory::Directory;

/// Ids begin at 1.
const NO_APP: i64 = 0;

/// What a request takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// To have been let in.
    Anyone,
    /// A person, and no deploy key.
    User,
    /// That role on that app, or a higher one.
    App(AppName, Role),
    /// To read what was done to an app, as its owners may. Administrators ask of apps that are gone, too.
    Past(AppName),
    Admin,
}

/// What a request was let through for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pass {
    need: Need,
    /// Which app had the name: names change hands while a request runs, and its rights do not go along.
    app: Option<i64>,
}

impl Need {
    pub(crate) fn app(&self) -> Option<&AppName> {
        match self {
            Self::App(app, _) | Self::Past(app) => Some(app),
            Self::Anyone | Self::User | Self::Admin => None,
        }
    }
}

impl Pass {
    pub(crate) fn is_for(&self, app: i64) -> bool {
        self.app == Some(app)
    }

    pub(crate) fn need(&self) -> &Need {
        &self.need
    }
}

/// Why not. An app that there is not and one that the caller may not know of are the same, in words and in the work
/// that led to them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("there is no app `{0}`, or you have no access to it")]
    NoApp(AppName),
    /// For an administrator, from whom nothing is hidden.
    #[error("there is no app `{0}`")]
    Nowhere(AppName),
    #[error("you are {} of `{app}`, and this takes {}", with_article(*has), with_article(*takes))]
    Role {
        app: AppName,
        has: Role,
        takes: Role,
    },
    #[error("this takes an administrator")]
    NoAdmin,
    #[error("a deploy key cannot do this; it takes a user")]
    NoUser,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// `role` is what the caller has on the app that is needed.
pub(crate) fn allows(caller: &Caller, need: &Need, role: Option<Role>) -> bool {
    match need {
        Need::Anyone => true,
        Need::User => matches!(caller.holder, Holder::User(_)),
        Need::App(_, takes) => caller.admin || role.is_some_and(|role| role >= *takes),
        Need::Past(_) => caller.admin || role == Some(Role::Owner),
        Need::Admin => caller.admin,
    }
}

/// From what the ledger says now.
pub(crate) fn check(ledger: &Ledger, caller: &Caller, need: &Need) -> Result<Pass, Denied> {
    let app = match need.app() {
        Some(name) => ledger.app_id(name)?,
        None => None,
    };
    let pass = Pass {
        need: need.clone(),
        app,
    };
    let role = role(ledger, caller, app)?;
    match (allows(caller, need, role), need) {
        (true, Need::App(name, _)) if app.is_none() => Err(Denied::Nowhere(name.clone())),
        (true, _) => Ok(pass),
        (false, _) => Err(denied(need, role)),
    }
}

/// Whether it still holds, whatever the app is called by now. An app that is gone is no matter of rights: what runs for it
/// ends with it.
pub(crate) fn holds(ledger: &Ledger, caller: &Caller, pass: &Pass) -> Result<bool, LedgerError> {
    let role = role(ledger, caller, pass.app)?;
    let is_gone = match pass.app {
        Some(id) => ledger.app_name(id)?.is_none(),
        None => false,
    };
    Ok(is_gone || allows(caller, &pass.need, role))
}

/// Asked of no app, too: the answer takes as long.
fn role(ledger: &Ledger, caller: &Caller, app: Option<i64>) -> Result<Option<Role>, LedgerError> {
    ledger.role_on(app.unwrap_or(NO_APP), &caller.holder)
}

fn denied(need: &Need, role: Option<Role>) -> Denied {
    match (need, role) {
        (Need::App(app, takes), Some(has)) => not_enough(app, has, *takes),
        (Need::Past(app), Some(has)) => not_enough(app, has, Role::Owner),
        (Need::App(app, _) | Need::Past(app), None) => Denied::NoApp(app.clone()),
        (Need::User, _) => Denied::NoUser,
        (Need::Admin | Need::Anyone, _) => Denied::NoAdmin,
    }
}

fn not_enough(app: &AppName, has: Role, takes: Role) -> Denied {
    let app = app.clone();
    Denied::Role { app, has, takes }
}

fn with_article(role: Role) -> &'static str {
    match role {
        Role::Viewer => "a viewer",
        Role::Deployer => "a deployer",
        Role::Operator => "an operator",
        Role::Owner => "an owner",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const SAMPLES: usize = 501;
    /// A look into the database more or less would be about twice the time.
    const FACTOR_MAX: f64 = 1.4;
    /// A difference in our work is there each time; one in what else the machine does is not.
    const ATTEMPTS_MAX: usize = 20;

    fn caller(holder: Holder, admin: bool) -> Caller {
        Caller {
            user: "ann".into(),
            fingerprint: "SHA256:1".into(),
            remote: ([192, 0, 2, 1], 1).into(),
            holder,
            admin,
        }
    }

    /// Each caller against each need, with each role.
    #[test]
    fn nothing_is_allowed_that_is_not_said_to_be() {
        let user = caller(Holder::User("ann".into()), false);
        let admin = caller(Holder::User("ann".into()), true);
        let role = Role::Deployer;
        let machine = caller(Holder::App { id: 1, role }, false);
        let app = |role| Need::App("shop".parse().expect("a name"), role);
        let check = |need: &Need, role, expected: [bool; 3]| {
            let seen = [&machine, &user, &admin].map(|caller| allows(caller, need, role));
            assert_eq!(seen, expected, "{need:?} with {role:?}");
        };
        for role in [None].into_iter().chain(Role::ALL.map(Some)) {
            check(&Need::Anyone, role, [true, true, true]);
            check(&Need::User, role, [false, true, true]);
            check(&Need::Admin, role, [false, false, true]);
        }
        let past = Need::Past("shop".parse().expect("a name"));
        check(&past, None, [false, false, true]);
        check(&past, Some(Role::Operator), [false, false, true]);
        check(&past, Some(Role::Owner), [true, true, true]);
        for (n, takes) in Role::ALL.into_iter().enumerate() {
            check(&app(takes), None, [false, false, true]);
            for (has_n, has) in Role::ALL.into_iter().enumerate() {
                let enough = has_n >= n;
                check(&app(takes), Some(has), [enough, enough, true]);
            }
        }
    }

    #[test]
    fn an_app_that_is_forbidden_looks_like_one_that_is_not_there() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("ledger.db");
        let ledger = Ledger::open(&path).expect("opens");
        let connection = rusqlite::Connection::open(&path).expect("opens");
        let app = "INSERT INTO apps (name, created_at, created_by) VALUES ('hidden', 0, 'ann')";
        connection.execute(app, []).expect("an app");
        let eve = caller(Holder::User("eve".into()), false);
        let need = |name: &str| Need::App(name.parse().expect("a name"), Role::Viewer);
        let (hidden, absent) = (need("hidden"), need("absent"));
        let denied = |need: &Need| super::check(&ledger, &eve, need).expect_err("is denied");
        for (need, name) in [(&hidden, "hidden"), (&absent, "absent")] {
            let words = format!("there is no app `{name}`, or you have no access to it");
            assert_eq!(denied(need).to_string(), words);
        }
        assert_eq!(
            ledger.app_id(&"hidden".parse().expect("a name")).ok(),
            Some(Some(1))
        );

        // In turn, so that whatever else the machine does meets both; medians, so that a pause counts once.
        let took = |need: &Need| {
            let start = Instant::now();
            denied(need);
            start.elapsed()
        };
        let median = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64()
        };
        let factor = || {
            let times = (0..SAMPLES).map(|_| (took(&hidden), took(&absent))).unzip();
            let (hidden, absent): (Vec<_>, Vec<_>) = times;
            let (hidden, absent) = (median(hidden), median(absent));
            hidden.max(absent) / hidden.min(absent)
        };
        let factors: Vec<f64> = (0..ATTEMPTS_MAX).map(|_| factor()).collect();
        assert!(
            factors.iter().any(|factor| *factor < FACTOR_MAX),
            "{factors:?}"
        );
    }
}
