//! The one rule of who may do what.

use super::{Account, Actor, BUILT_IN_ADMIN, Scope};
use crate::workflow::Workflow;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    // ---- with the host ---------------------------------------------------------------
    /// What tells nothing of workflows or users: probes, the API's description, signing in.
    UsePublic,
    /// Versions, runtimes, previews of schedules, who one is.
    UseHost,
    /// A listing that holds what its reader may see.
    ListVisible,
    /// Give dead letters their attempts again, of workflows that one may run.
    RedriveVisible,
    /// Create a workflow.
    CreateWorkflow,
    /// Health, disk usage, counters and statistics of everything.
    ReadHost,
    /// Take a backup, install a runtime.
    OperateHost,
    /// Users, and their tokens and roles.
    ManageUsers,
    /// The audit log.
    ReadAudit,

    // ---- with an account ---------------------------------------------------------------
    /// See one's own tokens.
    ReadAccount,
    /// One's own tokens, sessions and password.
    ChangeAccount,

    // ---- with a workflow ---------------------------------------------------------------
    /// That it exists: description, state, schedules, versions, statistics.
    ShowWorkflow,
    /// Its runs with what they were handed and what they said, its sources, the names of
    /// its settings.
    InspectWorkflow,
    /// The secret part of its URL, by which anybody can call it.
    ReadUrl,
    /// Run it: test runs, replays, redrives, cancelling.
    RunWorkflow,
    /// Deploy to it, activate a version, change it and its schedules.
    ChangeWorkflow,
    /// Its settings.
    ChangeSettings,
    /// Who may do what with it.
    ShareWorkflow,
    /// Delete it for good.
    ArchiveWorkflow,
}

/// What it is to be done with.
#[derive(Debug, Clone, Copy)]
pub enum Object<'a> {
    /// The host as a whole.
    Host,
    /// What belongs to the actor itself.
    Own,
    /// A workflow, or something that belongs to it.
    Workflow {
        /// The owner's login; `None` is the built-in admin.
        owner: Option<&'a str>,
        /// Logins of those who may change it.
        managers: &'a [String],
        /// Logins of those who may look into it.
        viewers: &'a [String],
        /// Whether others do not see that it exists.
        private: bool,
    },
}

impl<'a> From<&'a Workflow> for Object<'a> {
    fn from(workflow: &'a Workflow) -> Self {
        Object::Workflow {
            owner: workflow.owner.as_deref(),
            managers: &workflow.managers,
            viewers: &workflow.viewers,
            private: workflow.private,
        }
    }
}

/// What an account is to a workflow. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// Nothing.
    Stranger,
    /// May look into it.
    Viewer,
    /// May change and run it.
    Manager,
    /// May do everything with it.
    Owner,
}

impl Relation {
    /// What an account is to a workflow. Admins are owners of all.
    pub fn of(account: &Account, owner: Option<&str>, managers: &[String], viewers: &[String]) -> Self {
        let login = account.login.as_str();
        let is_in = |list: &[String]| list.iter().any(|one| one == login);
        if account.is_admin() || owner.unwrap_or(BUILT_IN_ADMIN) == login {
            return Relation::Owner;
        }
        if is_in(managers) {
            return Relation::Manager;
        }
        if is_in(viewers) { Relation::Viewer } else { Relation::Stranger }
    }
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Allow,
    /// Whoever asks has to sign in first (401).
    SignIn,
    /// The object is not there, as far as whoever asks may know (404).
    Hide,
    /// The object is known, and this is not allowed (403).
    Forbid,
    /// The user may, the token may not (403).
    NeedsScope(Scope),
}

impl Decision {
    /// Whether it may be done.
    pub fn is_allowed(self) -> bool {
        self == Decision::Allow
    }
}

/// Whom an action is for.
enum Need {
    Anybody,
    SignedIn,
    Admin,
    Relation(Relation),
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 19] = [
        Action::UsePublic,
        Action::UseHost,
        Action::ListVisible,
        Action::RedriveVisible,
        Action::CreateWorkflow,
        Action::ReadHost,
        Action::OperateHost,
        Action::ManageUsers,
        Action::ReadAudit,
        Action::ReadAccount,
        Action::ChangeAccount,
        Action::ShowWorkflow,
        Action::InspectWorkflow,
        Action::ReadUrl,
        Action::RunWorkflow,
        Action::ChangeWorkflow,
        Action::ChangeSettings,
        Action::ShareWorkflow,
        Action::ArchiveWorkflow,
    ];

    /// Whom it is for, and which scope a token needs for it.
    fn rule(self) -> (Need, Scope) {
        match self {
            Action::UsePublic => (Need::Anybody, Scope::Read),
            Action::UseHost | Action::ListVisible => (Need::SignedIn, Scope::Read),
            Action::RedriveVisible => (Need::SignedIn, Scope::Run),
            Action::CreateWorkflow => (Need::SignedIn, Scope::Write),
            Action::ReadHost | Action::OperateHost | Action::ManageUsers | Action::ReadAudit => {
                (Need::Admin, Scope::Admin)
            }
            Action::ReadAccount | Action::ChangeAccount => (Need::SignedIn, Scope::Account),
            Action::ShowWorkflow => (Need::Relation(Relation::Stranger), Scope::Read),
            Action::InspectWorkflow => (Need::Relation(Relation::Viewer), Scope::Read),
            Action::ReadUrl => (Need::Relation(Relation::Manager), Scope::Read),
            Action::RunWorkflow => (Need::Relation(Relation::Manager), Scope::Run),
            Action::ChangeWorkflow | Action::ChangeSettings => {
                (Need::Relation(Relation::Manager), Scope::Write)
            }
            Action::ShareWorkflow | Action::ArchiveWorkflow => {
                (Need::Relation(Relation::Owner), Scope::Write)
            }
        }
    }
}

/// Whether an actor may do something with an object. What no rule allows is refused: also
/// an action with an object that it is not for.
pub fn authorize(actor: &Actor, action: Action, object: Object<'_>) -> Decision {
    let (need, scope) = action.rule();
    if matches!((&need, object), (Need::Anybody, Object::Host)) {
        return Decision::Allow;
    }
    let Some(account) = actor.account() else { return Decision::SignIn };
    let is_granted = match (need, object) {
        (Need::SignedIn, Object::Host | Object::Own) => true,
        (Need::Admin, Object::Host) => account.role == super::Role::Admin,
        (Need::Relation(needed), Object::Workflow { owner, managers, viewers, private }) => {
            let relation = Relation::of(account, owner, managers, viewers);
            if private && relation == Relation::Stranger {
                return Decision::Hide;
            }
            relation >= needed
        }
        _ => false,
    };
    match (is_granted, account.scopes.contains(scope)) {
        (false, _) => Decision::Forbid,
        (true, false) => Decision::NeedsScope(scope),
        (true, true) => Decision::Allow,
    }
}

#[cfg(test)]
mod tests;
