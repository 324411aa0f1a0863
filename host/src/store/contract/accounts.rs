//! Users, tokens, sessions and one-time links.

use futures::future::join_all;

use super::Setup;
use crate::account::{Role, User, UserId};
use crate::store::samples::account;
use crate::store::{AccountChange, Accounts, StoreError};
use crate::workflow::Digest;

fn user(changes: &[AccountChange]) -> User {
    let mut users = changes.iter().filter_map(|change| match change {
        AccountChange::PutUser(user) => Some(user.clone()),
        _ => None,
    });
    users.next_back().unwrap()
}

pub(crate) async fn accounts_are_the_same_after_reopening(setup: &impl Setup) {
    let store = setup.open().await;
    assert_eq!(store.accounts().await.unwrap(), Accounts::default());
    for login in ["ada", "eve"] {
        let changes = account(login);
        let put = store.change_accounts(changes.clone()).await.unwrap();
        assert_eq!(put, [user(&changes)]);
    }
    let token = store.accounts().await.unwrap().tokens[0].id;
    store.change_accounts(vec![AccountChange::DeleteToken(token)]).await.unwrap();
    let before = store.accounts().await.unwrap();
    let counts = (before.users.len(), before.tokens.len(), before.sessions.len(), before.links.len());
    assert_eq!(counts, (2, 1, 2, 2));
    store.close().await.unwrap();
    drop(store);
    assert_eq!(setup.open().await.accounts().await.unwrap(), before);
}

pub(crate) async fn login_is_given_once(setup: &impl Setup) {
    let store = setup.open().await;
    let results = join_all((0..16).map(|_| store.change_accounts(account("ada")))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert!(matches!(error, StoreError::LoginTaken(login) if login.as_str() == "ada"));
    }
    let accounts = store.accounts().await.unwrap();
    assert_eq!((accounts.users.len(), accounts.tokens.len()), (1, 1));
}

pub(crate) async fn one_of_many_changes_of_a_user_wins(setup: &impl Setup) {
    let store = setup.open().await;
    let before = store.change_accounts(account("ada")).await.unwrap().remove(0);
    let changes = (0..16).map(|number| {
        let changed = User { name: number.to_string(), role: Role::Admin, ..before.clone() };
        store.change_accounts(vec![AccountChange::PutUser(User { login: "eve".parse().unwrap(), ..changed })])
    });
    let results = join_all(changes).await;
    let won: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    let now = &won[0][0];
    assert!(now.revision > before.revision && now.updated_at >= before.updated_at);
    // The login stays, whatever the change says.
    assert_eq!((&now.login, now.role), (&before.login, Role::Admin));
    assert_eq!(store.accounts().await.unwrap().users, std::slice::from_ref(now));
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }
}

pub(crate) async fn one_time_link_is_used_up_once(setup: &impl Setup) {
    let store = setup.open().await;
    store.change_accounts(account("ada")).await.unwrap();
    let link = store.accounts().await.unwrap().links[0].digest;
    let uses = (0..16).map(|_| store.change_accounts(vec![AccountChange::DeleteLink(link)]));
    let results = join_all(uses).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    }
}

pub(crate) async fn changes_of_accounts_are_all_or_nothing(setup: &impl Setup) {
    let store = setup.open().await;
    let mut changes = account("ada");
    let unknown = UserId::new();
    for change in &mut changes[1..] {
        match change {
            AccountChange::PutToken(token) => token.user = unknown,
            AccountChange::PutSession(session) => session.user = unknown,
            AccountChange::PutLink(link) => link.user = unknown,
            other => panic!("{other:?}"),
        }
    }
    for wrong in 1..4 {
        let pair = vec![changes[0].clone(), changes[wrong].clone()];
        assert!(matches!(store.change_accounts(pair).await, Err(StoreError::Missing { .. })));
    }
    let never = AccountChange::DeleteSession(Digest::of(b"never"));
    let result = store.change_accounts(vec![changes[0].clone(), never]).await;
    assert!(matches!(result, Err(StoreError::Missing { .. })));
    assert_eq!(store.accounts().await.unwrap(), Accounts::default());
}
