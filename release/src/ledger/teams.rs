//! Teams: users that are granted roles together.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Doing as _, Ledger, LedgerError, now, users};
use crate::{TeamName, UserName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    pub name: String,
    /// By name.
    pub members: Vec<String>,
}

impl Ledger {
    /// By name.
    pub fn teams(&self) -> Result<Vec<Team>, LedgerError> {
        let doing = "list the teams";
        let connection = self.lock();
        let mut query = connection
            .prepare(
                "SELECT teams.name, members.user FROM teams LEFT JOIN members ON members.team = teams.name
                 ORDER BY teams.name, members.user",
            )
            .doing(doing)?;
        let mut rows = query.query([]).doing(doing)?;
        let mut teams: BTreeMap<String, Vec<String>> = BTreeMap::new();
        while let Some(row) = rows.next().doing(doing)? {
            let (team, member) = (row.get(0).doing(doing)?, row.get(1).doing(doing)?);
            teams.entry(team).or_default().extend::<Option<_>>(member);
        }
        let team = |(name, members)| Team { name, members };
        Ok(teams.into_iter().map(team).collect())
    }

    /// `false`: there is one of that name.
    pub fn create_team(&self, name: &TeamName) -> Result<bool, LedgerError> {
        let created = self
            .lock()
            .execute(
                "INSERT INTO teams (name, created_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![name.as_str(), now().cast_signed()],
            )
            .doing("create the team")?;
        Ok(created > 0)
    }

    /// With what it was granted.
    pub fn destroy_team(&self, name: &TeamName) -> Result<(), LedgerError> {
        let destroyed = self
            .lock()
            .execute("DELETE FROM teams WHERE name = ?1", [name.as_str()])
            .doing("destroy the team")?;
        match destroyed {
            0 => Err(LedgerError::NoTeam(name.clone())),
            _ => Ok(()),
        }
    }

    /// `false`: is a member already.
    pub fn add_member(&self, team: &TeamName, user: &UserName) -> Result<bool, LedgerError> {
        let insert = "INSERT INTO members (team, user) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        self.change_member(team, user, insert)
    }

    /// `false`: was no member.
    pub fn remove_member(&self, team: &TeamName, user: &UserName) -> Result<bool, LedgerError> {
        let delete = "DELETE FROM members WHERE team = ?1 AND user = ?2";
        self.change_member(team, user, delete)
    }

    fn change_member(
        &self,
        team: &TeamName,
        user: &UserName,
        sql: &str,
    ) -> Result<bool, LedgerError> {
        let doing = "change the team";
        let mut connection = self.lock();
        let transaction = connection.transaction().doing(doing)?;
        must_exist(&transaction, team)?;
        users::must_exist(&transaction, user)?;
        let changed = transaction
            .execute(sql, [team.as_str(), user.as_str()])
            .doing(doing)?;
        transaction.commit().doing(doing)?;
        Ok(changed > 0)
    }
}

pub(super) fn must_exist(
    transaction: &Transaction<'_>,
    name: &TeamName,
) -> Result<(), LedgerError> {
    transaction
        .query_row(
            "SELECT 1 FROM teams WHERE name = ?1",
            [name.as_str()],
            |_| Ok(()),
        )
        .optional()
        .doing("look the team up")?
        .ok_or_else(|| LedgerError::NoTeam(name.clone()))
}
