//! Who uses the host: sign-in, sessions, tokens and users, from memory.
//!
//! The store is the truth; each verb changes the store first and the memory when that is
//! durable. Nothing here knows of HTTP, and nothing here decides who may do what: that is
//! [`authorize`](crate::account::authorize()), which callers ask first.
//!
//! What the console needs: [`Accounts::sign_in`] and [`Accounts::one_time`] begin a
//! session, [`Accounts::session`] says whose it is, [`Accounts::sign_out`] ends it.

mod attempts;
mod error;
mod external;
mod hashing;
mod memory;
mod tokens;
mod users;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq as _;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use self::attempts::Attempts;
pub use self::error::AccountError;
pub use self::external::Admitted;
use self::hashing::Hashing;
use self::memory::Memory;
pub use self::tokens::{NewToken, TokenSpec};
pub use self::users::{NewUser, UserPatch};
use crate::account::{
    Account, Actor, Login, OneTimeLink, Role, Scopes, Secret, SecretKind, Session, SignInMeans, User, UserId,
    Via,
};
use crate::config;
use crate::store::{AccountChange, Store, StoreError};
use crate::workflow::Digest;

/// The cookie of a session. The prefix makes browsers take it only from us, over TLS (RFC
/// 6265bis, section 4.1.3.2).
pub const COOKIE: &str = "__Host-tidegate";
/// The cookie where the connection is of this machine itself and has no TLS, for which some
/// browsers refuse the other one.
pub const COOKIE_LOOPBACK: &str = "tidegate-loopback";
/// The cookie that ties a sign-in by the provider to its browser, until it is back.
pub const COOKIE_OIDC: &str = "__Host-tidegate-oidc";
/// The same on a connection of this machine itself.
pub const COOKIE_OIDC_LOOPBACK: &str = "tidegate-oidc-loopback";
/// The page that one-time links lead to; the secret is its query's `link`.
pub const SIGN_IN_PATH: &str = "/sign-in";
/// The page that sends browsers to the sign-in provider.
pub const OIDC_PATH: &str = "/sign-in/oidc";

/// Times of use are kept when they changed by more than this: not each request is a write.
const SEEN_COARSE: SignedDuration = SignedDuration::from_mins(5);
const USED_COARSE: SignedDuration = SignedDuration::from_mins(10);
/// How long tokens that do not work any more are listed.
const DEAD_TOKENS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

/// Users, tokens and sessions.
pub struct Accounts {
    store: Arc<dyn Store>,
    config: config::Accounts,
    /// SHA-256 of the token in the data folder.
    admin_token: Digest,
    memory: RwLock<Memory>,
    /// Held while something changes, so that memory follows the store in its order.
    gate: Mutex<()>,
    hashing: Hashing,
    attempts: Attempts,
    /// Times of use on their way to the store.
    touching: TaskTracker,
}

/// A session that was begun.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// What the browser keeps: the cookie's value.
    pub secret: Secret,
    /// Who signed in.
    pub actor: Actor,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
}

/// A link that was made.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// What the link carries.
    pub secret: Secret,
    /// Who signs in by it.
    pub login: Login,
    /// From when on it does not work.
    pub expires_at: Timestamp,
}

impl NewLink {
    /// The path and query of the link, below the host's URL.
    pub fn path(&self) -> String {
        format!("{SIGN_IN_PATH}?link={}", self.secret.expose())
    }
}

impl Accounts {
    /// Reads all accounts. At the first start the built-in admin is made, and a link by
    /// which it signs in once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open(
        store: Arc<dyn Store>,
        config: config::Accounts,
        admin_token: Digest,
    ) -> Result<(Arc<Self>, Option<NewLink>), StoreError> {
        let kept = store.accounts().await?;
        let is_new = kept.users.is_empty();
        let accounts = Arc::new(Self {
            store,
            attempts: Attempts::new(config.sign_in_attempts_max, config.lockout_minutes),
            config,
            admin_token,
            memory: RwLock::new(Memory::new(kept)),
            gate: Mutex::new(()),
            hashing: Hashing::new(),
            touching: TaskTracker::new(),
        });
        if !is_new {
            return Ok((accounts, None));
        }
        let admin = users::fresh(Login::built_in(), Role::Admin, Timestamp::now());
        let (link, put) = accounts.fresh_link(&admin);
        accounts.commit(vec![AccountChange::PutUser(admin), put]).await?;
        Ok((accounts, Some(link)))
    }

    // ---- who asks ----------------------------------------------------------------------

    /// Who has this bearer token; `None` when nobody does any more, or never did.
    ///
    /// How long it takes says nothing about any token: what is looked up, and what is
    /// compared, are SHA-256 digests.
    pub fn bearer(self: &Arc<Self>, text: &str) -> Option<Actor> {
        if self.is_admin_token(text) {
            return Some(self.built_in());
        }
        let digest = Secret::parse(SecretKind::Token, text)?.digest();
        let now = Timestamp::now();
        let (token, actor) = {
            let memory = self.read();
            let token = memory.token(&digest)?;
            if !token.is_valid(now) {
                return None;
            }
            let user = memory.enabled(token.user)?;
            (token.clone(), actor(user, token.scopes, Via::Token(token.id)))
        };
        if token.used_at.is_none_or(|used| now.duration_since(used) > USED_COARSE) {
            self.touch(AccountChange::PutToken(crate::account::Token { used_at: Some(now), ..token }));
        }
        Some(actor)
    }

    /// The same actor as it is now; `None` when what it asked by does not work any more.
    pub fn renew(&self, actor: &Actor) -> Option<Actor> {
        let account = actor.account()?;
        let (memory, now) = (self.read(), Timestamp::now());
        let works = match account.via {
            Via::AdminToken => true,
            Via::Password => false,
            Via::Token(id) => memory.token_by_id(id).is_some_and(|token| token.is_valid(now)),
            Via::Session { digest, .. } => memory
                .session(&digest)
                .is_some_and(|session| session.is_valid(now, self.idle(), self.absolute())),
        };
        if account.via == Via::AdminToken {
            return Some(actor.clone());
        }
        let user = memory.enabled(account.user).filter(|_| works)?;
        Some(Actor::Account(Account { role: user.role, ..account.clone() }))
    }

    /// Whose session this cookie is; `None` when it is no session that goes on.
    pub fn session(self: &Arc<Self>, cookie: &str) -> Option<Actor> {
        let digest = Secret::parse(SecretKind::Session, cookie)?.digest();
        let now = Timestamp::now();
        let (session, actor) = {
            let memory = self.read();
            let session = memory.session(&digest)?;
            if !session.is_valid(now, self.idle(), self.absolute()) {
                return None;
            }
            let user = memory.enabled(session.user)?;
            let via = Via::Session { digest, means: session.means, proven_at: session.proven_at() };
            (session.clone(), actor(user, Scopes::ALL, via))
        };
        if now.duration_since(session.seen_at) > SEEN_COARSE {
            self.touch(AccountChange::PutSession(Session { seen_at: now, ..session }));
        }
        Some(actor)
    }

    /// The built-in admin, by the right of whoever can read the data folder. It has it even
    /// when that user is disabled.
    fn built_in(&self) -> Actor {
        let memory = self.read();
        let user = memory.by_login(&Login::built_in()).map_or_else(UserId::default, |user| user.id);
        let (login, role, scopes) = (Login::built_in(), Role::Admin, Scopes::ALL);
        Actor::Account(Account { user, login, role, scopes, via: Via::AdminToken })
    }

    // ---- signing in and out ------------------------------------------------------------

    /// Begins a session with login and password. `from` is the client's address;
    /// `previous` a session that the browser had, which ends.
    ///
    /// # Errors
    /// [`AccountError::WrongPassword`], also for users that are not there, disabled, or have
    /// no password; [`AccountError::LockedOut`] after too many of those;
    /// [`AccountError::Busy`].
    pub async fn sign_in(
        &self,
        login: &str,
        password: &str,
        from: IpAddr,
        previous: Option<&str>,
    ) -> Result<NewSession, AccountError> {
        let user = self.check_password(login, password, from).await?;
        self.begin(&user, SignInMeans::Password, None, previous).await
    }

    /// The user with this login and password.
    ///
    /// # Errors
    /// As [`Accounts::sign_in`].
    pub async fn check_password(
        &self,
        login: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<Arc<User>, AccountError> {
        // Counted before the password is looked at: of many at once no more get through.
        self.attempts.begin(login, from, Instant::now())?;
        let known = login.parse::<Login>().ok().and_then(|login| self.read().by_login(&login).cloned());
        let hash = known.as_ref().and_then(|user| user.password.clone());
        let is_right = self.hashing.verify(password, hash).await?;
        match known.filter(|user| is_right && !user.disabled) {
            Some(user) => {
                self.attempts.succeeded(login, from);
                Ok(user)
            }
            None => Err(AccountError::WrongPassword),
        }
    }

    /// Begins a session by a one-time link, which works no more then.
    ///
    /// # Errors
    /// [`AccountError::Link`].
    pub async fn one_time(&self, link: &str, previous: Option<&str>) -> Result<NewSession, AccountError> {
        let secret = Secret::parse(SecretKind::OneTimeLink, link).ok_or(AccountError::Link)?;
        let digest = secret.digest();
        let user = {
            let memory = self.read();
            let link = memory.link(&digest).filter(|link| Timestamp::now() < link.expires_at);
            link.and_then(|link| memory.enabled(link.user).cloned()).ok_or(AccountError::Link)?
        };
        let began = self.begin(&user, SignInMeans::OneTimeLink, Some(digest), previous).await;
        // Somebody else was first.
        began.map_err(|error| match error {
            AccountError::Store(StoreError::Missing { .. }) => AccountError::Link,
            other => other,
        })
    }

    /// Begins a session of the built-in admin by the token in the data folder. Other tokens
    /// begin none: a session has all of its user's rights, and they may have fewer.
    ///
    /// # Errors
    /// [`AccountError::Link`].
    pub async fn exchange(&self, token: &str, previous: Option<&str>) -> Result<NewSession, AccountError> {
        if !self.is_admin_token(token) {
            return Err(AccountError::Link);
        }
        let user = self.user(crate::account::BUILT_IN_ADMIN)?;
        if user.disabled {
            return Err(AccountError::Disabled(user.login.clone()));
        }
        self.begin(&user, SignInMeans::OneTimeLink, None, previous).await
    }

    fn is_admin_token(&self, text: &str) -> bool {
        let digest = Digest::of(text.as_bytes());
        digest.as_bytes().as_slice().ct_eq(self.admin_token.as_bytes().as_slice()).into()
    }

    /// # Errors
    /// Also when the user was changed since it was found.
    async fn begin(
        &self,
        user: &User,
        means: SignInMeans,
        link: Option<Digest>,
        previous: Option<&str>,
    ) -> Result<NewSession, AccountError> {
        let (secret, now) = (Secret::random(SecretKind::Session), Timestamp::now());
        let digest = secret.digest();
        let session =
            Session { digest, user: user.id, means, created_at: now, seen_at: now, proven_at: None };
        let mut changes = vec![AccountChange::PutSession(session)];
        changes.extend(link.map(AccountChange::DeleteLink));
        let _gate = self.gate.lock().await;
        self.check_unchanged(user, means)?;
        let mut ending = self.read().surplus_sessions(user.id, self.config.sessions_max);
        let previous = previous.and_then(|text| Secret::parse(SecretKind::Session, text));
        let previous =
            previous.map(|secret| secret.digest()).filter(|old| self.read().session(old).is_some());
        ending.extend(previous);
        ending.sort_unstable();
        ending.dedup();
        changes.extend(ending.into_iter().map(AccountChange::DeleteSession));
        self.commit_gated(changes).await?;
        let actor = actor(user, Scopes::ALL, Via::Session { digest, means, proven_at: now });
        let expires_at = now.checked_add(self.absolute()).unwrap_or(Timestamp::MAX);
        Ok(NewSession { secret, actor, expires_at })
    }

    /// Whether what a user was known by is still what it was: a change of it ended all sessions,
    /// and one that is begun by what went before would go on behind it. The caller holds the gate.
    fn check_unchanged(&self, user: &User, means: SignInMeans) -> Result<(), AccountError> {
        let memory = self.read();
        let Some(now) = memory.enabled(user.id) else {
            return Err(AccountError::Disabled(user.login.clone()));
        };
        match means {
            SignInMeans::Password if now.password != user.password => Err(AccountError::WrongPassword),
            SignInMeans::Oidc if now.identity != user.identity => {
                let reason = "the provider's account belongs to no user of this host any more";
                Err(AccountError::NoAccount(reason.to_owned()))
            }
            // A link is used up by the very change that begins the session.
            SignInMeans::Password | SignInMeans::Oidc | SignInMeans::OneTimeLink => Ok(()),
        }
    }

    /// Whether an actor may do what an old session may not do alone: it has no session, or its
    /// user has proved to be who it is within `accounts.proof_s`.
    pub fn is_proven(&self, actor: &Actor) -> bool {
        let Some(Account { via: Via::Session { proven_at, .. }, .. }) = actor.account() else { return true };
        let lasts = SignedDuration::from_secs(i64::from(self.config.proof_s));
        lasts.is_zero() || Timestamp::now().duration_since(*proven_at) < lasts
    }

    /// Keeps that the user of a session has just proved again to be who it is, and says who.
    ///
    /// # Errors
    /// [`AccountError::Missing`]: the session is over.
    pub async fn prove(&self, session: Digest) -> Result<Login, AccountError> {
        let _gate = self.gate.lock().await;
        let (session, login) = {
            let memory = self.read();
            let session = memory.session(&session).cloned();
            let user = session.as_ref().and_then(|session| memory.enabled(session.user));
            let login = user.map(|user| user.login.clone());
            session.zip(login).ok_or_else(|| AccountError::Missing { what: "the session".to_owned() })?
        };
        let proven = Session { proven_at: Some(Timestamp::now()), ..session };
        self.commit_gated(vec![AccountChange::PutSession(proven)]).await?;
        Ok(login)
    }

    /// Ends a session. One that is over already is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_out(&self, cookie: &str) -> Result<(), AccountError> {
        match Secret::parse(SecretKind::Session, cookie) {
            Some(secret) => self.end_session(secret.digest()).await,
            None => Ok(()),
        }
    }

    /// Ends a session, by its digest.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_session(&self, digest: Digest) -> Result<(), AccountError> {
        let _gate = self.gate.lock().await;
        if self.read().session(&digest).is_none() {
            return Ok(());
        }
        self.commit_gated(vec![AccountChange::DeleteSession(digest)]).await?;
        Ok(())
    }

    /// Makes a link by which a user signs in once; links made before stop working.
    ///
    /// # Errors
    /// [`AccountError::Missing`]; [`AccountError::Disabled`].
    pub async fn link(&self, login: &str) -> Result<NewLink, AccountError> {
        let user = self.user(login)?;
        if user.disabled {
            return Err(AccountError::Disabled(user.login.clone()));
        }
        let (link, put) = self.fresh_link(&user);
        let _gate = self.gate.lock().await;
        let mut changes = vec![put];
        changes.extend(self.read().links_of(user.id).into_iter().map(AccountChange::DeleteLink));
        self.commit_gated(changes).await?;
        Ok(link)
    }

    fn fresh_link(&self, user: &User) -> (NewLink, AccountChange) {
        let (secret, minutes) = (Secret::random(SecretKind::OneTimeLink), self.config.link_minutes);
        let lasts = SignedDuration::from_mins(i64::from(minutes));
        let expires_at = Timestamp::now().checked_add(lasts).unwrap_or(Timestamp::MAX);
        let link = OneTimeLink { digest: secret.digest(), user: user.id, expires_at };
        (NewLink { secret, login: user.login.clone(), expires_at }, AccountChange::PutLink(link))
    }

    // ---- administration ----------------------------------------------------------------

    /// Whether an admin can sign in: what a host needs before others than this machine may
    /// reach it.
    pub fn has_admin_who_can_sign_in(&self) -> bool {
        let memory = self.read();
        memory.users().any(|user| user.role == Role::Admin && !user.disabled && user.password.is_some())
    }

    /// Deletes what does not work any more: sessions and links at once, tokens after a month.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<(), AccountError> {
        let now = Timestamp::now();
        let _gate = self.gate.lock().await;
        let changes = self.read().dead(now, self.idle(), self.absolute(), DEAD_TOKENS_KEPT);
        if !changes.is_empty() {
            self.commit_gated(changes).await?;
        }
        Ok(())
    }

    /// Waits until the times of use are kept.
    pub async fn close(&self) {
        self.touching.close();
        self.touching.wait().await;
    }

    // ---- inside ------------------------------------------------------------------------

    fn idle(&self) -> SignedDuration {
        SignedDuration::from_mins(i64::from(self.config.session_idle_minutes))
    }

    fn absolute(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.config.session_days))
    }

    async fn commit(&self, changes: Vec<AccountChange>) -> Result<Vec<Arc<User>>, StoreError> {
        let _gate = self.gate.lock().await;
        self.commit_gated(changes).await
    }

    /// Changes the store, then the memory. The caller holds the gate.
    async fn commit_gated(&self, changes: Vec<AccountChange>) -> Result<Vec<Arc<User>>, StoreError> {
        let users = self.store.change_accounts(changes.clone()).await?;
        let users: Vec<_> = users.into_iter().map(Arc::new).collect();
        self.write().apply(changes, &users);
        Ok(users)
    }

    /// Keeps a time of use, when nothing else changed meanwhile.
    fn touch(self: &Arc<Self>, change: AccountChange) {
        // So that the next request does not find the old time and does the same.
        if !self.write().touch(&change) {
            return;
        }
        let accounts = Arc::clone(self);
        self.touching.spawn(async move {
            let _gate = accounts.gate.lock().await;
            if !accounts.read().is_current(&change) {
                return;
            }
            if let Err(error) = accounts.store.change_accounts(vec![change]).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a time of use was not kept");
            }
        });
    }

    // A panic under this lock leaves whole values behind: they are replaced, not edited.
    fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn actor(user: &User, scopes: Scopes, via: Via) -> Actor {
    Actor::Account(Account { user: user.id, login: user.login.clone(), role: user.role, scopes, via })
}

#[cfg(test)]
mod tests;
