//! Who somebody at the provider is here.

use super::*;
use crate::account::Identity;
use crate::accounts::tests::World;
use crate::accounts::{AccountError, UserPatch};

fn external(subject: &str, login: &str) -> External {
    External {
        identity: Identity { issuer: "https://id.example".to_owned(), subject: subject.to_owned() },
        login: Some(login.to_owned()),
        verified_email: None,
        name: "Ada\u{7} L.".to_owned(),
        role: None,
        may_create: true,
    }
}

#[tokio::test]
async fn a_user_is_made_once_and_found_by_its_subject_alone() {
    let world = World::new().await;
    let first = world.accounts.admit(&external("1", "ada@example.org")).await.unwrap();
    assert!(first.is_new && !first.is_linked);
    assert_eq!((first.user.login.as_str(), first.user.name.as_str()), ("ada@example.org", "Ada L."));
    assert_eq!(first.user.role, Role::Member);
    let world = world.again().await;
    let renamed = world.accounts.admit(&external("1", "lovelace@example.org")).await.unwrap();
    assert!(!renamed.is_new);
    assert_eq!(renamed.user.id, first.user.id);
    let other = External { may_create: false, ..external("2", "ada@example.org") };
    assert!(matches!(world.accounts.admit(&other).await, Err(AccountError::NoAccount(_))));
    let mut elsewhere = External { may_create: false, ..external("1", "ada@example.org") };
    elsewhere.identity.issuer = "https://other.example".to_owned();
    assert!(matches!(world.accounts.admit(&elsewhere).await, Err(AccountError::NoAccount(_))));
}

#[tokio::test]
async fn a_login_that_is_taken_is_given_to_nobody_else() {
    let world = World::new().await;
    world.member("ada@example.org").await;
    let error = world.accounts.admit(&external("1", "ada@example.org")).await.unwrap_err();
    assert!(
        matches!(&error, AccountError::NoAccount(reason) if reason.contains("another user's")),
        "{error}"
    );
    let admin = world.accounts.admit(&external("1", "admin")).await;
    assert!(matches!(admin, Err(AccountError::NoAccount(_))));
    let bad = world.accounts.admit(&external("1", "../etc")).await;
    assert!(matches!(bad, Err(AccountError::Login(_))));
    let none = External { login: None, ..external("1", "") };
    assert!(matches!(world.accounts.admit(&none).await, Err(AccountError::NoAccount(_))));
}

#[tokio::test]
async fn a_verified_address_links_a_user_once() {
    let world = World::new().await;
    let ada = world.member("ada@example.org").await;
    let verified = |subject| External {
        verified_email: Some("ada@example.org".to_owned()),
        ..external(subject, "ada@example.org")
    };
    let linked = world.accounts.admit(&verified("1")).await.unwrap();
    assert!(linked.is_linked && linked.user.id == ada.id);
    assert!(!world.accounts.admit(&verified("1")).await.unwrap().is_linked);
    assert!(matches!(world.accounts.admit(&verified("2")).await, Err(AccountError::NoAccount(_))));
}

#[tokio::test]
async fn roles_follow_groups_and_disabled_users_stay_outside() {
    let world = World::new().await;
    let with = |role| External { role: Some(role), ..external("1", "ada") };
    let ada = world.accounts.admit(&with(Role::Admin)).await.unwrap().user;
    assert_eq!(ada.role, Role::Admin);
    let session = world.accounts.sign_in_admitted(&ada, None).await.unwrap();
    let ada = world.accounts.admit(&with(Role::Member)).await.unwrap().user;
    assert_eq!(ada.role, Role::Member);
    assert!(world.accounts.session(session.secret.expose()).is_none(), "it had an admin's rights");
    let session = world.accounts.sign_in_admitted(&ada, None).await.unwrap();
    assert!(world.accounts.is_session_of(session.secret.digest(), &with(Role::Member)));
    assert!(!world.accounts.is_session_of(session.secret.digest(), &external("2", "ada")));
    let patch = UserPatch { disabled: Some(true), ..Default::default() };
    world.accounts.change_user("ada", patch).await.unwrap();
    assert!(matches!(world.accounts.admit(&with(Role::Admin)).await, Err(AccountError::Disabled(_))));
    assert!(!world.accounts.is_session_of(session.secret.digest(), &with(Role::Member)));
}
