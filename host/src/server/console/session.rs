//! Who looks at a page: the account whose session the browser's cookie names.

use std::sync::Arc;

use axum::http::request::Parts;

use crate::account::{Account, Action, Actor, Decision, Object, authorize};
use crate::accounts::{Accounts, COOKIE, COOKIE_LOOPBACK, NewSession};
use crate::api::WorkflowView;
use crate::server::api::auth;
use crate::workflow::Workflow;

/// Whoever looks at a page.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    /// The account.
    pub(super) account: Account,
    /// The same as what the API's functions ask for.
    pub(super) actor: Actor,
}

impl Viewer {
    /// Who has the session of a request; `None` when it names none that goes on.
    pub(super) fn of(accounts: &Arc<Accounts>, request: &Parts) -> Option<Self> {
        let actor = accounts.session(auth::session_cookie(request)?)?;
        let account = actor.account()?.clone();
        Some(Self { account, actor })
    }

    /// The login, for whoever keeps who did something.
    pub(super) fn login(&self) -> Option<String> {
        Some(self.account.login.to_string())
    }

    /// What the pages call them.
    pub(super) fn name(&self) -> &str {
        self.account.login.as_str()
    }

    /// What becomes of an action.
    pub(super) fn decide(&self, action: Action, object: Object<'_>) -> Decision {
        authorize(&self.actor, action, object)
    }

    /// Whether they may do something with the host.
    pub(super) fn may(&self, action: Action) -> bool {
        self.decide(action, Object::Host).is_allowed()
    }

    /// Whether they may do something with a workflow.
    pub(super) fn may_with(&self, action: Action, workflow: &WorkflowView) -> bool {
        let WorkflowView { owner, managers, viewers, private, .. } = workflow;
        let object = Object::Workflow { owner: owner.as_deref(), managers, viewers, private: *private };
        self.decide(action, object).is_allowed()
    }

    /// Whether they may change a workflow.
    pub(super) fn may_change(&self, workflow: &Workflow) -> bool {
        self.decide(Action::ChangeWorkflow, Object::from(workflow)).is_allowed()
    }

    /// Whether they may know that a workflow exists.
    pub(super) fn sees(&self, workflow: &Workflow) -> bool {
        self.decide(Action::ShowWorkflow, Object::from(workflow)).is_allowed()
    }
}

/// The cookie's name and attributes, by the way that a request came. Some browsers refuse
/// `Secure` without encryption, also from this machine itself.
fn cookie(is_local: bool) -> (&'static str, &'static str) {
    match is_local {
        true => (COOKIE_LOOPBACK, "Path=/; HttpOnly; SameSite=Strict"),
        false => (COOKIE, "Path=/; Secure; HttpOnly; SameSite=Strict"),
    }
}

/// The header that hands a session to the browser.
pub(super) fn begin(session: &NewSession, is_local: bool) -> String {
    let (name, attributes) = cookie(is_local);
    format!("{name}={}; {attributes}", session.secret.expose())
}

/// The header that takes it away.
pub(super) fn end(is_local: bool) -> String {
    let (name, attributes) = cookie(is_local);
    format!("{name}=; {attributes}; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_secure_unless_it_stays_on_this_machine() {
        assert!(end(false).starts_with("__Host-tidegate=; Path=/; Secure; HttpOnly; SameSite=Strict"));
        assert!(!end(true).contains("Secure"));
    }
}
