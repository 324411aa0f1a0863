//! The rule against a table that is written down twice, and against its properties.

use proptest::prelude::*;

use super::*;
use crate::account::{Role, Scopes, TokenId, UserId, Via};

fn account(login: &str, role: Role, scopes: Scopes) -> Actor {
    let (user, login) = (UserId::new(), login.parse().unwrap());
    Actor::Account(Account { user, login, role, scopes, via: Via::Token(TokenId::new()) })
}

fn member(login: &str) -> Actor {
    account(login, Role::Member, Scopes::ALL)
}

fn workflow(private: bool) -> (Vec<String>, Vec<String>, bool) {
    (vec!["manager".to_owned()], vec!["viewer".to_owned()], private)
}

fn decide(actor: &Actor, action: Action, private: bool) -> Decision {
    let (managers, viewers, private) = workflow(private);
    let object = Object::Workflow { owner: Some("owner"), managers: &managers, viewers: &viewers, private };
    authorize(actor, action, object)
}

#[test]
fn workflows_are_for_those_whom_they_name() {
    use Decision::{Allow, Forbid, Hide, SignIn};
    let admin = account("root", Role::Admin, Scopes::ALL);
    let actors = [Actor::Anonymous, member("x"), member("viewer"), member("manager"), member("owner"), admin];
    for (action, open) in [
        (Action::ShowWorkflow, [SignIn, Allow, Allow, Allow, Allow, Allow]),
        (Action::InspectWorkflow, [SignIn, Forbid, Allow, Allow, Allow, Allow]),
        (Action::ReadUrl, [SignIn, Forbid, Forbid, Allow, Allow, Allow]),
        (Action::RunWorkflow, [SignIn, Forbid, Forbid, Allow, Allow, Allow]),
        (Action::ChangeWorkflow, [SignIn, Forbid, Forbid, Allow, Allow, Allow]),
        (Action::ChangeSettings, [SignIn, Forbid, Forbid, Allow, Allow, Allow]),
        (Action::ShareWorkflow, [SignIn, Forbid, Forbid, Forbid, Allow, Allow]),
        (Action::ArchiveWorkflow, [SignIn, Forbid, Forbid, Forbid, Allow, Allow]),
    ] {
        for (actor, expected) in actors.iter().zip(open) {
            assert_eq!(decide(actor, action, false), expected, "{action:?} {actor:?}");
            let is_stranger = actor.login().is_some_and(|login| login.as_str() == "x");
            let expected = if is_stranger { Hide } else { expected };
            assert_eq!(decide(actor, action, true), expected, "private: {action:?} {actor:?}");
        }
    }
}

#[test]
fn the_host_is_for_its_admins() {
    let admin = account("root", Role::Admin, Scopes::ALL);
    for (action, anonymous, members, admins) in [
        (Action::UsePublic, Decision::Allow, Decision::Allow, Decision::Allow),
        (Action::UseHost, Decision::SignIn, Decision::Allow, Decision::Allow),
        (Action::ListVisible, Decision::SignIn, Decision::Allow, Decision::Allow),
        (Action::RedriveVisible, Decision::SignIn, Decision::Allow, Decision::Allow),
        (Action::CreateWorkflow, Decision::SignIn, Decision::Allow, Decision::Allow),
        (Action::ReadAccount, Decision::SignIn, Decision::Allow, Decision::Allow),
        (Action::ChangeAccount, Decision::SignIn, Decision::Allow, Decision::Allow),
        (Action::ReadHost, Decision::SignIn, Decision::Forbid, Decision::Allow),
        (Action::OperateHost, Decision::SignIn, Decision::Forbid, Decision::Allow),
        (Action::ManageUsers, Decision::SignIn, Decision::Forbid, Decision::Allow),
        (Action::ReadAudit, Decision::SignIn, Decision::Forbid, Decision::Allow),
    ] {
        assert_eq!(authorize(&Actor::Anonymous, action, Object::Host), anonymous, "{action:?}");
        assert_eq!(authorize(&member("x"), action, Object::Host), members, "{action:?}");
        assert_eq!(authorize(&admin, action, Object::Host), admins, "{action:?}");
    }
}

#[test]
fn what_has_no_owner_is_the_built_in_admins() {
    let object = Object::Workflow { owner: None, managers: &[], viewers: &[], private: true };
    let built_in = account(BUILT_IN_ADMIN, Role::Admin, Scopes::ALL);
    assert_eq!(authorize(&built_in, Action::ArchiveWorkflow, object), Decision::Allow);
    assert_eq!(authorize(&member("x"), Action::ShowWorkflow, object), Decision::Hide);
}

#[test]
fn admins_token_without_its_scope_is_a_members() {
    let narrow = account("root", Role::Admin, Scopes::ALL.without(Scope::Admin));
    assert_eq!(decide(&narrow, Action::ShowWorkflow, true), Decision::Hide);
    assert_eq!(decide(&narrow, Action::ChangeWorkflow, false), Decision::Forbid);
    let decision = authorize(&narrow, Action::ManageUsers, Object::Host);
    assert_eq!(decision, Decision::NeedsScope(Scope::Admin));
    let wide = account("x", Role::Member, Scopes::ALL);
    assert_eq!(authorize(&wide, Action::ManageUsers, Object::Host), Decision::Forbid);
}

#[test]
fn every_action_is_listed_once() {
    let mut seen = std::collections::HashSet::new();
    assert!(Action::ALL.iter().all(|action| seen.insert(*action)));
}

proptest! {
    #[test]
    fn nothing_is_granted_without_a_rule(
        who in 0..6_usize, bits in 0..32_u8, action in 0..Action::ALL.len(), private: bool, at in 0..3_usize,
    ) {
        let action = Action::ALL[action];
        let scopes: Scopes =
            Scope::ALL.into_iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, one)| one).collect();
        let login = ["", "x", "viewer", "manager", "owner", "root"][who];
        let role = if who == 5 { Role::Admin } else { Role::Member };
        let actor = if who == 0 { Actor::Anonymous } else { account(login, role, scopes) };
        let (managers, viewers, private) = workflow(private);
        let object = [
            Object::Host,
            Object::Own,
            Object::Workflow { owner: Some("owner"), managers: &managers, viewers: &viewers, private },
        ][at];
        let decision = authorize(&actor, action, object);
        let (need, scope) = action.rule();
        let is_for_workflows = matches!(need, Need::Relation(_));
        if decision.is_allowed() {
            // The object is one that the action is for.
            prop_assert_eq!(is_for_workflows, at == 2);
            prop_assert!(who != 0 || action == Action::UsePublic);
            prop_assert!(scopes.contains(scope) || action == Action::UsePublic);
            prop_assert!(!matches!(need, Need::Admin) || actor.is_admin());
            // Whoever may do something with a workflow may see it, scopes aside.
            if at == 2 {
                let full = account(login, role, Scopes::ALL.without(Scope::Admin));
                let full = if actor.is_admin() { account(login, role, Scopes::ALL) } else { full };
                prop_assert!(authorize(&full, Action::ShowWorkflow, object).is_allowed());
            }
        }
        // Fewer scopes never allow more.
        if let Actor::Account(account) = &actor {
            for scope in Scope::ALL {
                let less = Actor::Account(Account { scopes: scopes.without(scope), ..account.clone() });
                let less = authorize(&less, action, object);
                prop_assert!(!less.is_allowed() || decision.is_allowed());
            }
        }
    }
}
