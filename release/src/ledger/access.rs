//! Who has which role on which app, directly or through a team. Read at each use: a change holds from the next request.

use rusqlite::{Connection, Row, params};

use super::{
    App, Doing as _, Holder, Ledger, LedgerError,
    apps::{find, parsed},
    teams, users,
};
use crate::{AppName, Grantee, Role};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// A user's name, or a team's with `@`.
    pub to: String,
    pub role: Role,
}

impl Ledger {
    /// The highest role that the holder has on the app. `None` also when there is no such app.
    pub fn role_on(&self, app: i64, holder: &Holder) -> Result<Option<Role>, LedgerError> {
        let doing = "look the role up";
        let connection = self.lock();
        let (user, id, role) = split(holder);
        let mut query = connection
            .prepare(
                "SELECT role FROM grants WHERE app = ?1
                 AND (user = ?2 OR team IN (SELECT team FROM members WHERE user = ?2))
                 UNION ALL SELECT ?4 FROM apps WHERE id = ?1 AND id = ?3",
            )
            .doing(doing)?;
        let roles = query
            .query_map(params![app, user, id, role], |row| parsed(row, 0))
            .doing(doing)?;
        let roles: Vec<Role> = roles.collect::<rusqlite::Result<_>>().doing(doing)?;
        Ok(roles.into_iter().max())
    }

    /// The apps that the holder has any role on.
    pub fn apps_of(&self, holder: &Holder) -> Result<Vec<App>, LedgerError> {
        let mut apps = self.apps()?;
        let doing = "list the apps";
        let connection = self.lock();
        let (user, id, _) = split(holder);
        let mut query = connection
            .prepare(
                "SELECT app FROM grants WHERE user = ?1 OR team IN (SELECT team FROM members WHERE user = ?1)
                 UNION SELECT ?2 WHERE ?2 IS NOT NULL",
            )
            .doing(doing)?;
        let ids = query
            .query_map(params![user, id], |row| row.get(0))
            .doing(doing)?;
        let ids: Vec<i64> = ids.collect::<rusqlite::Result<_>>().doing(doing)?;
        apps.retain(|app| ids.contains(&app.id));
        Ok(apps)
    }

    /// Users before teams, each by name.
    pub fn grants(&self, app: &AppName) -> Result<Vec<Grant>, LedgerError> {
        let doing = "list who has access";
        let connection = self.lock();
        let app = find(&connection, app)?;
        let mut query = connection
            .prepare(
                "SELECT coalesce(user, '@' || team), role FROM grants WHERE app = ?1
                 ORDER BY team IS NOT NULL, coalesce(user, team)",
            )
            .doing(doing)?;
        let rows = query.query_map([app.id], grant).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    /// In place of the role that the grantee had.
    pub fn grant(&self, app: &AppName, to: &Grantee, role: Role) -> Result<(), LedgerError> {
        let doing = "grant the role";
        let mut connection = self.lock();
        let transaction = connection.transaction().doing(doing)?;
        let app = find(&transaction, app)?;
        match to {
            Grantee::User(name) => users::must_exist(&transaction, name)?,
            Grantee::Team(name) => teams::must_exist(&transaction, name)?,
        }
        revoke(&transaction, app.id, to).doing(doing)?;
        let (user, team) = columns(to);
        transaction
            .execute(
                "INSERT INTO grants (app, user, team, role) VALUES (?1, ?2, ?3, ?4)",
                params![app.id, user, team, role.as_str()],
            )
            .doing(doing)?;
        transaction.commit().doing(doing)
    }

    /// `false`: there was no such grant.
    pub fn revoke(&self, app: &AppName, from: &Grantee) -> Result<bool, LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        Ok(revoke(&connection, app.id, from).doing("take the role away")? > 0)
    }
}

fn revoke(connection: &Connection, app: i64, from: &Grantee) -> rusqlite::Result<usize> {
    let (user, team) = columns(from);
    connection.execute(
        "DELETE FROM grants WHERE app = ?1 AND (user = ?2 OR team = ?3)",
        params![app, user, team],
    )
}

fn columns(to: &Grantee) -> (Option<&str>, Option<&str>) {
    match to {
        Grantee::User(name) => (Some(name.as_str()), None),
        Grantee::Team(name) => (None, Some(name.as_str())),
    }
}

fn split(holder: &Holder) -> (Option<&str>, Option<i64>, Option<&'static str>) {
    match holder {
        Holder::User(name) => (Some(name), None, None),
        Holder::App { id, role } => (None, Some(*id), Some(role.as_str())),
    }
}

fn grant(row: &Row<'_>) -> rusqlite::Result<Grant> {
    Ok(Grant {
        to: row.get(0)?,
        role: parsed(row, 1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TeamName, UserName};

    #[test]
    fn the_highest_role_counts_whichever_way_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        let user = |text: &str| text.parse::<UserName>().unwrap();
        let team: TeamName = "backend".parse().unwrap();
        let shop: AppName = "shop".parse().unwrap();
        for name in ["ann", "bob"] {
            ledger.add_user(&user(name), false).unwrap();
        }
        let id = ledger.create_app(&shop, "ann").unwrap().id;
        ledger
            .create_app(&"blog".parse().unwrap(), "nobody")
            .unwrap();
        let role = |name: &str| ledger.role_on(id, &Holder::User(name.into())).unwrap();
        let apps = |holder| ledger.apps_of(&holder).unwrap().len();
        assert_eq!(role("ann"), Some(Role::Owner));
        assert_eq!((role("bob"), role("nobody")), (None, None));
        assert_eq!(apps(Holder::User("ann".into())), 1);
        assert_eq!(apps(Holder::User("bob".into())), 0);

        let to_bob = Grantee::User(user("bob"));
        ledger.grant(&shop, &to_bob, Role::Operator).unwrap();
        ledger.grant(&shop, &to_bob, Role::Viewer).unwrap();
        assert_eq!(role("bob"), Some(Role::Viewer));
        ledger.create_team(&team).unwrap();
        ledger
            .grant(&shop, &Grantee::Team(team.clone()), Role::Deployer)
            .unwrap();
        assert_eq!(role("bob"), Some(Role::Viewer));
        assert!(ledger.add_member(&team, &user("bob")).unwrap());
        assert_eq!(role("bob"), Some(Role::Deployer));
        assert_eq!(ledger.teams().unwrap()[0].members, ["bob"]);
        let granted: Vec<_> = ledger.grants(&shop).unwrap();
        let names: Vec<_> = granted.iter().map(|grant| grant.to.as_str()).collect();
        assert_eq!(names, ["ann", "bob", "@backend"]);
        assert!(ledger.revoke(&shop, &to_bob).unwrap());
        assert!(!ledger.revoke(&shop, &to_bob).unwrap());
        assert_eq!(role("bob"), Some(Role::Deployer));
        ledger.destroy_team(&team).unwrap();
        assert_eq!(role("bob"), None);

        let deploy_key = |id| Holder::App {
            id,
            role: Role::Deployer,
        };
        let by_key = |of| ledger.role_on(id, &deploy_key(of)).unwrap();
        assert_eq!((by_key(id), by_key(id + 1)), (Some(Role::Deployer), None));
        assert_eq!(apps(deploy_key(id)), 1);
        for (wrong, expected) in [("eve", "user"), ("@web", "team")] {
            let error = ledger
                .grant(&shop, &wrong.parse().unwrap(), Role::Viewer)
                .unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }

        // A new app of the same name is another app.
        ledger.destroy_app(id).unwrap();
        let now = ledger.create_app(&shop, "nobody").unwrap().id;
        assert_eq!((role("ann"), by_key(id)), (None, None));
        assert_eq!(ledger.role_on(now, &deploy_key(id)).unwrap(), None);
        assert_eq!(ledger.app_id(&shop).unwrap(), Some(now));
        assert_eq!(ledger.app_name(id).unwrap(), None);
        assert_eq!(ledger.app_name(now).unwrap(), Some(shop));
    }
}
