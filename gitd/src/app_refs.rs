//! The refs that the platform keeps in an app's repository: `refs/releases/v7` is the commit of release v7, and HEAD is
//! the branch that deploys. Both are derived from the ledger, so to write them again does no harm.

use std::collections::HashMap;

use gix_hash::ObjectId;
use release::{App, LedgerError};

use crate::{
    Context,
    git::{RELEASES, RefError, Repo},
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum AppRefsError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Refs(#[from] RefError),
}

impl Context {
    /// The branches whose pushes deploy the app; hints name the first.
    pub(crate) fn deploy_branches<'a>(&'a self, app: &'a App) -> Vec<&'a str> {
        match &app.deploy_branch {
            Some(branch) => vec![branch],
            None => self
                .settings
                .deploy_branches
                .iter()
                .map(String::as_str)
                .collect(),
        }
    }

    pub(crate) fn write_app_refs(&self, app: &App, repo: &Repo) -> Result<(), AppRefsError> {
        let refs: HashMap<String, ObjectId> = repo.refs()?.into_iter().collect();
        for (number, commit) in self.apps.ledger().release_commits(&app.name)? {
            let name = format!("{RELEASES}{number}");
            let commit = ObjectId::from_hex(commit.as_bytes()).ok();
            if let Some(commit) = commit
                && !refs.contains_key(&name)
                && repo.contains(commit)
            {
                write_once(repo, &name, commit)?;
            }
        }
        let branches = self.deploy_refs(app);
        let head = branches
            .iter()
            .find(|branch| refs.contains_key(*branch))
            .or(branches.first());
        match head {
            Some(head) if *head != repo.head()? => Ok(repo.set_head(head)?),
            _ => Ok(()),
        }
    }

    /// A branch that deploys names what is live: if it was only stored until now, a push of it would be "up-to-date" and
    /// deploy nothing. Returns the refs that had to move.
    pub(crate) fn show_live_on_deploy_branches(
        &self,
        app: &App,
        repo: &Repo,
    ) -> Result<Vec<String>, AppRefsError> {
        let live = self.apps.ledger().current(&app.name)?;
        let live = live.and_then(|release| ObjectId::from_hex(release.commit?.as_bytes()).ok());
        // The release of a cloned app names a commit of another repository.
        let live = live.filter(|commit| repo.contains(*commit));
        let mut moved = Vec::new();
        for name in self.deploy_refs(app) {
            let now = repo.read_ref(&name)?;
            if now.is_some() && now != live {
                repo.set_ref(&name, live, now)?;
                moved.push(name);
            }
        }
        Ok(moved)
    }

    fn deploy_refs(&self, app: &App) -> Vec<String> {
        let branches = self.deploy_branches(app);
        branches
            .into_iter()
            .map(|branch| format!("refs/heads/{branch}"))
            .collect()
    }
}

/// Two that write the same ref at once both have it.
fn write_once(repo: &Repo, name: &str, commit: ObjectId) -> Result<(), RefError> {
    match repo.set_ref(name, Some(commit), None) {
        Err(RefError::Moved { now: Some(now), .. }) if now == commit => Ok(()),
        result => result,
    }
}
