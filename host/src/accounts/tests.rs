//! The service over a real store.

use std::time::Duration;

use super::*;
use crate::account::{Identity, Role, Scope};
use crate::config::Config;
use crate::store::{EmbeddedOptions, EmbeddedStore};

const PASSWORD: &str = "correct horse";

fn here() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

pub(super) struct World {
    folder: tempfile::TempDir,
    config: config::Accounts,
    pub(super) accounts: Arc<Accounts>,
    first: Option<NewLink>,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut config::Accounts)) -> Self {
        let mut config = Config::defaults().accounts;
        change(&mut config);
        let folder = tempfile::tempdir().unwrap();
        let (accounts, first) = open(&folder, &config).await;
        Self { folder, config, accounts, first }
    }

    /// The same after a restart.
    pub(super) async fn again(self) -> Self {
        self.accounts.close().await;
        self.accounts.store.close().await.unwrap();
        let Self { folder, config, accounts, .. } = self;
        drop(accounts);
        let (accounts, first) = open(&folder, &config).await;
        Self { folder, config, accounts, first }
    }

    pub(super) async fn member(&self, login: &str) -> Arc<User> {
        let (login, name, role) = (login.to_owned(), String::new(), Role::Member);
        let new = NewUser { login, name, role, password: Some(PASSWORD.to_owned()) };
        self.accounts.add_user(new).await.unwrap()
    }

    async fn token(&self, user: &User, scopes: Scopes) -> NewToken {
        let spec = TokenSpec { label: "test".to_owned(), scopes, expires_at: None };
        self.accounts.add_token(user, spec).await.unwrap()
    }

    async fn sign_in(&self, login: &str) -> NewSession {
        self.accounts.sign_in(login, PASSWORD, here(), None).await.unwrap()
    }

    /// Puts something back in time, as if it had been made so long ago.
    async fn age(&self, session: &NewSession, seen: SignedDuration, created: SignedDuration) {
        let digest = session.secret.digest();
        let session = self.accounts.read().session(&digest).unwrap().clone();
        let now = Timestamp::now();
        let aged = Session { seen_at: now - seen, created_at: now - created, ..session };
        self.accounts.commit(vec![AccountChange::PutSession(aged)]).await.unwrap();
    }
}

async fn open(folder: &tempfile::TempDir, config: &config::Accounts) -> (Arc<Accounts>, Option<NewLink>) {
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
    Accounts::open(store, config.clone(), Digest::of(b"tdg_file")).await.unwrap()
}

fn login_of(actor: Option<Actor>) -> Option<String> {
    actor.and_then(|actor| actor.login().map(ToString::to_string))
}

#[tokio::test(flavor = "multi_thread")]
async fn first_start_makes_an_admin_who_signs_in_once() {
    let world = World::new().await;
    let link = world.first.clone().unwrap();
    assert_eq!(link.login.as_str(), BUILT_IN);
    assert!(!world.accounts.has_admin_who_can_sign_in());
    let session = world.accounts.one_time(link.secret.expose(), None).await.unwrap();
    let actor = world.accounts.session(session.secret.expose()).unwrap();
    assert!(actor.is_admin());
    assert_eq!(actor, session.actor);
    for wrong in [link.secret.expose(), "tdgo_", ""] {
        assert!(matches!(world.accounts.one_time(wrong, None).await, Err(AccountError::Link)));
    }
    world.accounts.set_password("admin", Some(PASSWORD), None).await.unwrap();
    assert!(world.accounts.has_admin_who_can_sign_in());
    let world = world.again().await;
    assert!(world.first.is_none(), "there is one first start");
    world.sign_in("admin").await;
}

const BUILT_IN: &str = crate::account::BUILT_IN_ADMIN;

#[tokio::test(flavor = "multi_thread")]
async fn link_expires_and_a_new_one_ends_it() {
    let world = World::new().await;
    world.member("ada").await;
    let (old, new) = (world.accounts.link("ada").await.unwrap(), world.accounts.link("ada").await.unwrap());
    assert!(matches!(world.accounts.one_time(old.secret.expose(), None).await, Err(AccountError::Link)));
    let digest = new.secret.digest();
    let kept = world.accounts.read().link(&digest).unwrap().clone();
    let expired = OneTimeLink { expires_at: Timestamp::now(), ..kept };
    world.accounts.commit(vec![AccountChange::PutLink(expired)]).await.unwrap();
    assert!(matches!(world.accounts.one_time(new.secret.expose(), None).await, Err(AccountError::Link)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_use_a_link_one_signs_in() {
    let world = World::new().await;
    let link = world.first.clone().unwrap();
    let uses = (0..16).map(|_| world.accounts.one_time(link.secret.expose(), None));
    let results = futures::future::join_all(uses).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert!(matches!(error, AccountError::Link), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_password_signs_in_and_many_wrong_ones_lock_out() {
    let world = World::with(|config| config.sign_in_attempts_max = 4).await;
    world.member("ada").await;
    let wrong = async |login: &str, password: &str| {
        world.accounts.sign_in(login, password, here(), None).await.unwrap_err()
    };
    // Each success forgets the failures before it.
    for _ in 0..2 {
        for password in ["", "Correct horse", "correct horse "] {
            assert!(matches!(wrong("ada", password).await, AccountError::WrongPassword));
        }
        world.sign_in("ada").await;
    }
    // Who is not there, has no password or no such login is told the same.
    for login in ["eve", "admin", "Ada", "x y"] {
        assert!(matches!(wrong(login, PASSWORD).await, AccountError::WrongPassword), "{login}");
    }
    for _ in 0..4 {
        assert!(matches!(wrong("ada", "x").await, AccountError::WrongPassword));
    }
    match wrong("ada", PASSWORD).await {
        AccountError::LockedOut { retry_after } => assert!(retry_after > Duration::from_secs(600)),
        other => panic!("{other}"),
    }
    let elsewhere = IpAddr::from([10, 0, 0, 1]);
    world.accounts.sign_in("ada", PASSWORD, elsewhere, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_guesses_at_once_get_no_further_than_one_by_one() {
    let world = World::new().await;
    world.member("ada").await;
    let guesses = (0..10_000).map(|number| {
        let world = &world;
        async move { world.accounts.sign_in("ada", &format!("guess {number}"), here(), None).await }
    });
    let results = futures::future::join_all(guesses).await;
    let locked =
        results.iter().filter(|result| matches!(result, Err(AccountError::LockedOut { .. }))).count();
    assert_eq!(locked, 10_000 - 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn session_ends_when_it_is_idle_old_or_signed_out() {
    let world = World::new().await;
    world.member("ada").await;
    let is_on = |session: &NewSession| world.accounts.session(session.secret.expose()).is_some();
    let (hour, day) = (SignedDuration::from_hours(1), SignedDuration::from_hours(24));
    let session = world.sign_in("ada").await;
    world.age(&session, 11 * hour, 6 * day).await;
    assert!(is_on(&session));
    world.age(&session, 12 * hour, 6 * day).await;
    assert!(!is_on(&session));
    world.age(&session, hour, 7 * day).await;
    assert!(!is_on(&session));
    world.accounts.sweep().await.unwrap();
    assert_eq!(world.accounts.store.accounts().await.unwrap().sessions.len(), 0);

    let session = world.sign_in("ada").await;
    world.accounts.sign_out(session.secret.expose()).await.unwrap();
    world.accounts.sign_out(session.secret.expose()).await.unwrap();
    assert!(!is_on(&session));
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_ends_the_browsers_session_and_the_users_oldest() {
    let world = World::with(|config| config.sessions_max = 2).await;
    world.member("ada").await;
    let is_on = |session: &NewSession| world.accounts.session(session.secret.expose()).is_some();
    let first = world.sign_in("ada").await;
    let previous = Some(first.secret.expose());
    let second = world.accounts.sign_in("ada", PASSWORD, here(), previous).await.unwrap();
    assert_ne!(first.secret, second.secret);
    assert!(!is_on(&first) && is_on(&second));
    world.age(&second, SignedDuration::from_mins(3), SignedDuration::from_mins(3)).await;
    let (third, fourth) = (world.sign_in("ada").await, world.sign_in("ada").await);
    assert!(!is_on(&second) && is_on(&third) && is_on(&fourth));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_password_role_or_disabling_end_sessions() {
    let world = World::new().await;
    world.member("ada").await;
    let is_on = |session: &NewSession| world.accounts.session(session.secret.expose()).is_some();
    let (kept, other) = (world.sign_in("ada").await, world.sign_in("ada").await);
    let new = "another password";
    world.accounts.set_password("ada", Some(new), Some(kept.secret.digest())).await.unwrap();
    assert!(is_on(&kept) && !is_on(&other));
    let patch = UserPatch { role: Some(Role::Admin), ..UserPatch::default() };
    assert_eq!(world.accounts.change_user("ada", patch).await.unwrap().role, Role::Admin);
    assert!(!is_on(&kept));

    let session = world.accounts.sign_in("ada", new, here(), None).await.unwrap();
    let user = world.accounts.user("ada").unwrap();
    let token = world.token(&user, Scopes::ALL).await;
    let disable = |disabled| UserPatch { disabled: Some(disabled), ..UserPatch::default() };
    world.accounts.change_user("ada", disable(true)).await.unwrap();
    assert!(!is_on(&session) && world.accounts.bearer(token.secret.expose()).is_none());
    let result = world.accounts.sign_in("ada", new, here(), None).await;
    assert!(matches!(result, Err(AccountError::WrongPassword)));
    assert!(matches!(world.accounts.link("ada").await, Err(AccountError::Disabled(_))));
    world.accounts.change_user("ada", disable(false)).await.unwrap();
    assert!(!is_on(&session) && world.accounts.bearer(token.secret.expose()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_begun_by_what_was_replaced_while_it_was_checked() {
    let world = World::new().await;
    let accounts = &world.accounts;
    world.member("ada").await;
    // As if the password was changed while it was compared, which takes a while.
    let before = accounts.check_password("ada", PASSWORD, here()).await.unwrap();
    accounts.set_password("ada", Some("another horse"), None).await.unwrap();
    let begun = accounts.begin(&before, SignInMeans::Password, None, None).await;
    assert!(matches!(begun, Err(AccountError::WrongPassword)), "{begun:?}");
    let link = accounts.begin(&before, SignInMeans::OneTimeLink, None, None).await;
    assert!(link.is_ok(), "what was not the password is not concerned: {link:?}");

    let before = accounts.user("ada").unwrap();
    let identity = Identity { issuer: "https://issuer.example".to_owned(), subject: "1".to_owned() };
    let patch = UserPatch { identity: Some(Some(identity)), ..UserPatch::default() };
    accounts.change_user("ada", patch).await.unwrap();
    let begun = accounts.sign_in_admitted(&before, None).await;
    assert!(matches!(begun, Err(AccountError::NoAccount(_))), "{begun:?}");

    let patch = UserPatch { disabled: Some(true), ..UserPatch::default() };
    accounts.change_user("ada", patch).await.unwrap();
    for means in [SignInMeans::Password, SignInMeans::OneTimeLink, SignInMeans::Oidc] {
        let begun = accounts.begin(&before, means, None, None).await;
        assert!(matches!(begun, Err(AccountError::Disabled(_))), "{means:?}: {begun:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_works_until_it_is_revoked_or_expires() {
    let world = World::new().await;
    let user = world.member("ada").await;
    let scopes: Scopes = [Scope::Read].into_iter().collect();
    let token = world.token(&user, scopes).await;
    let text = token.secret.expose().to_owned();
    let Some(Actor::Account(account)) = world.accounts.bearer(&text) else { panic!("it is refused") };
    assert_eq!((account.login.as_str(), account.scopes), ("ada", scopes));
    assert_eq!(account.via, Via::Token(token.token.id));
    for wrong in [&text[..text.len() - 1], "tdgt_", "", "tdg_fil"] {
        assert_eq!(world.accounts.bearer(wrong), None, "{wrong}");
    }
    // When it was used last is kept, and so is all else.
    let world = world.again().await;
    assert_eq!(login_of(world.accounts.bearer(&text)).as_deref(), Some("ada"));
    assert!(world.accounts.tokens(Some(user.id))[0].used_at.is_some());
    let id = token.token.id.to_string();
    assert!(world.accounts.revoke_token(&id).await.unwrap().revoked_at.is_some());
    world.accounts.revoke_token(&id).await.unwrap();
    assert_eq!(world.accounts.bearer(&text), None);
    assert!(matches!(world.accounts.revoke_token("x").await, Err(AccountError::Missing { .. })));

    let other = world.token(&user, scopes).await;
    let past = crate::account::Token { expires_at: Some(Timestamp::now()), ..other.token };
    world.accounts.commit(vec![AccountChange::PutToken(past)]).await.unwrap();
    assert_eq!(world.accounts.bearer(other.secret.expose()), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_of_use_never_brings_back_what_was_revoked() {
    let world = World::new().await;
    let user = world.member("ada").await;
    let token = world.token(&user, Scopes::ALL).await;
    let gate = world.accounts.gate.lock().await;
    assert!(world.accounts.bearer(token.secret.expose()).is_some());
    drop(gate);
    world.accounts.revoke_token(&token.token.id.to_string()).await.unwrap();
    let world = world.again().await;
    assert_eq!(world.accounts.bearer(token.secret.expose()), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn file_token_is_the_built_in_admins() {
    let world = World::new().await;
    let actor = world.accounts.bearer("tdg_file").unwrap();
    assert!(actor.is_admin());
    let disable = UserPatch { disabled: Some(true), ..UserPatch::default() };
    world.accounts.change_user("admin", disable).await.unwrap();
    assert_eq!(login_of(world.accounts.bearer("tdg_file")).as_deref(), Some("admin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_user_or_a_token_is_said() {
    let world = World::with(|config| (config.users_max, config.tokens_max) = (2, 1)).await;
    let new = |login: &str, password: Option<&str>| NewUser {
        login: login.to_owned(),
        name: String::new(),
        role: Role::Member,
        password: password.map(str::to_owned),
    };
    let message = async |new| world.accounts.add_user(new).await.unwrap_err().to_string();
    assert!(message(new("Ada", None)).await.contains("'A' at position 1"));
    let short = message(new("ada", Some("short"))).await;
    assert_eq!(short, "password: has 5 characters, at least 10 are needed");
    assert!(message(new("ada-lovelace", Some("Ada-lovelace"))).await.contains("is the login"));
    assert!(message(new("ada", Some(&"x".repeat(1025)))).await.contains("at most 1024"));
    assert!(message(NewUser { name: "a\nb".to_owned(), ..new("ada", None) }).await.contains("control"));
    let ada = world.member("ada").await;
    assert!(message(new("eve", None)).await.contains("over the limit of 2 users"));
    for (scopes, expires_at, part) in [
        (Scopes::default(), None, "scopes: name at least one"),
        (Scopes::ALL, Some(Timestamp::now()), "expires_at: has passed"),
    ] {
        let spec = TokenSpec { label: String::new(), scopes, expires_at };
        let error = world.accounts.add_token(&ada, spec).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let token = world.token(&ada, Scopes::ALL).await;
    let spec = TokenSpec { label: String::new(), scopes: Scopes::ALL, expires_at: None };
    let error = world.accounts.add_token(&ada, spec.clone()).await.unwrap_err();
    assert!(matches!(error, AccountError::Limit { .. }), "{error}");
    world.accounts.revoke_token(&token.token.id.to_string()).await.unwrap();
    world.accounts.add_token(&ada, spec).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_on_the_disk() {
    let world = World::new().await;
    let user = world.member("ada").await;
    let (session, token) = (world.sign_in("ada").await, world.token(&user, Scopes::ALL).await);
    let link = world.accounts.link("ada").await.unwrap();
    world.accounts.close().await;
    world.accounts.store.close().await.unwrap();
    let secrets = [session.secret.expose(), token.secret.expose(), link.secret.expose(), PASSWORD];
    let mut folders = vec![world.folder.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            for secret in secrets {
                // The random part alone, too.
                let needle = secret.split_once('_').map_or(secret, |(_, rest)| rest).as_bytes();
                assert_eq!(memchr::memmem::find(&bytes, needle), None, "{}", path.display());
            }
            files += 1;
        }
    }
    assert!(files > 3, "{files} files were read");
}
