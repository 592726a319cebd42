//! What each command takes of its caller.

use release::{AppName, Role};

use super::Command;
use crate::access::Need;

/// What a command takes, and whether it leaves something changed, which is written to the audit log.
pub(super) struct Rule {
    pub(super) need: Need,
    pub(super) changes: bool,
}

impl Rule {
    fn read(need: Need) -> Self {
        Self {
            need,
            changes: false,
        }
    }

    fn change(need: Need) -> Self {
        Self {
            need,
            changes: true,
        }
    }
}

impl Command {
    /// Deny by default: a new command does not compile before it says here what it takes.
    pub(super) fn needs(&self) -> Rule {
        use Role::{Deployer, Operator, Owner, Viewer};
        let app = |app: &AppName, role| Need::App(app.clone(), role);
        match self {
            Self::Help(_) | Self::Completion(_) | Self::Whoami(_) => Rule::read(Need::Anyone),
            Self::Version(_) => Rule::read(Need::Anyone),
            Self::Apps(_) | Self::Teams(_) => Rule::read(Need::Anyone),
            Self::AppsCreate(_) => Rule::change(Need::User),
            Self::AppsInfo(args) => Rule::read(app(&args.app, Viewer)),
            Self::AppsExists(args) => Rule::read(app(&args.app, Viewer)),
            Self::AppsDestroy(args) => Rule::change(app(&args.app, Owner)),
            Self::AppsRename(args) => Rule::change(app(&args.app, Owner)),
            // The copy has the config vars of the original.
            Self::AppsClone(args) => Rule::change(app(&args.app, Operator)),
            Self::AppsTransfer(args) => Rule::change(app(&args.app, Owner)),
            Self::AppsLock(args) => Rule::change(app(&args.app, Operator)),
            Self::AppsUnlock(args) => Rule::change(app(&args.app, Operator)),
            Self::Config(args) => Rule::read(app(&args.app, Operator)),
            Self::ConfigKeys(args) => Rule::read(app(&args.app, Operator)),
            Self::ConfigGet(args) => Rule::read(app(&args.app, Operator)),
            Self::ConfigSet(args) => Rule::change(app(&args.app, Operator)),
            Self::ConfigUnset(args) => Rule::change(app(&args.app, Operator)),
            Self::ConfigExport(args) => Rule::read(app(&args.app, Operator)),
            Self::ConfigImport(args) => Rule::change(app(&args.app, Operator)),
            Self::ConfigEdit(args) => Rule::change(app(&args.app, Operator)),
            Self::Domains(args) => Rule::read(app(&args.app, Viewer)),
            Self::DomainsAdd(args) => Rule::change(app(&args.app, Operator)),
            Self::DomainsRemove(args) => Rule::change(app(&args.app, Operator)),
            Self::DomainsClear(args) => Rule::change(app(&args.app, Operator)),
            Self::Maintenance(args) => Rule::read(app(&args.app, Viewer)),
            Self::MaintenanceOn(args) => Rule::change(app(&args.app, Operator)),
            Self::MaintenanceOff(args) => Rule::change(app(&args.app, Operator)),
            Self::Ps(args) => Rule::read(app(&args.app, Viewer)),
            Self::PsScale(args) if args.only_shows() => Rule::read(app(&args.app, Viewer)),
            Self::PsScale(args) => Rule::change(app(&args.app, Operator)),
            Self::PsRestart(args) => Rule::change(app(&args.app, Operator)),
            Self::PsExec(args) => Rule::change(app(&args.app, Operator)),
            Self::PsStop(args) => Rule::change(app(&args.app, Operator)),
            Self::PsStart(args) => Rule::change(app(&args.app, Operator)),
            Self::PsRebuild(args) => Rule::change(app(&args.app, Deployer)),
            Self::Limits(args) => Rule::read(app(&args.app, Viewer)),
            Self::LimitsSet(args) => Rule::change(app(&args.app, Operator)),
            Self::Checks(args) => Rule::read(app(&args.app, Viewer)),
            Self::ChecksSet(args) => Rule::change(app(&args.app, Operator)),
            Self::Buildpacks(args) => Rule::read(app(&args.app, Viewer)),
            Self::BuildpacksSet(args) => Rule::change(app(&args.app, Operator)),
            Self::BuildpacksAdd(args) => Rule::change(app(&args.app, Operator)),
            Self::BuildpacksRemove(args) => Rule::change(app(&args.app, Operator)),
            Self::BuildpacksClear(args) => Rule::change(app(&args.app, Operator)),
            Self::Git(args) => Rule::read(app(&args.app, Viewer)),
            Self::GitSet(args) => Rule::change(app(&args.app, Operator)),
            Self::LogsFailed(args) => Rule::read(app(&args.app, Viewer)),
            Self::Logs(args) => Rule::read(app(&args.app, Viewer)),
            Self::Run(args) => Rule::change(app(&args.app, Operator)),
            Self::RunDetached(args) => Rule::change(app(&args.app, Operator)),
            Self::RunList(args) => Rule::read(app(&args.app, Viewer)),
            Self::Releases(args) => Rule::read(app(&args.app, Viewer)),
            Self::ReleasesInfo(args) => Rule::read(app(&args.app, Viewer)),
            Self::ReleasesOutput(args) => Rule::read(app(&args.app, Viewer)),
            Self::ReleasesRetry(args) => Rule::change(app(&args.app, Deployer)),
            Self::Rollback(args) => Rule::change(app(&args.app, Deployer)),
            Self::Builds(args) => Rule::read(app(&args.app, Viewer)),
            Self::BuildsOutput(args) => Rule::read(app(&args.app, Viewer)),
            Self::BuildsInfo(args) => Rule::read(app(&args.app, Viewer)),
            Self::BuildsAttach(args) => Rule::read(app(&args.app, Viewer)),
            Self::BuildsCancel(args) => Rule::change(app(&args.app, Deployer)),
            Self::BuildsPrune(args) => Rule::change(app(&args.app, Operator)),
            Self::BuildsDebug(args) => Rule::change(app(&args.app, Operator)),
            Self::Keys(args) => Rule::read(args.need()),
            Self::KeysAdd(args) => Rule::change(args.need()),
            Self::KeysRemove(args) => Rule::change(args.need()),
            Self::Access(args) => Rule::read(app(&args.app, Viewer)),
            Self::AccessAdd(args) => Rule::change(app(&args.app, Owner)),
            Self::AccessRemove(args) => Rule::change(app(&args.app, Owner)),
            Self::Audit(args) => Rule::read(match &args.app {
                Some(name) => Need::Past(name.clone()),
                None => Need::Admin,
            }),
            Self::Users(_) | Self::Ca(_) | Self::Doctor(_) => Rule::read(Need::Admin),
            // Whoever has it has everything, so it is put on record.
            Self::Backup(_) => Rule::change(Need::Admin),
            Self::UsersAdd(_) | Self::UsersRemove(_) | Self::Gc(_) => Rule::change(Need::Admin),
            Self::UsersPromote(_) | Self::UsersDemote(_) => Rule::change(Need::Admin),
            Self::TeamsCreate(_) | Self::TeamsDestroy(_) => Rule::change(Need::Admin),
            Self::TeamsAdd(_) | Self::TeamsRemove(_) => Rule::change(Need::Admin),
            Self::CaAdd(_) | Self::CaRemove(_) => Rule::change(Need::Admin),
            Self::CaRevoke(_) | Self::CaUnrevoke(_) => Rule::change(Need::Admin),
        }
    }

    /// For the audit log.
    pub(super) fn app(&self, need: &Need) -> Option<AppName> {
        match (self, need) {
            (Self::AppsCreate(args), _) => Some(args.name.clone()),
            _ => need.app().cloned(),
        }
    }
}
