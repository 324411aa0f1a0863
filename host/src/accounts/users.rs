//! Users: the verbs that change them.

use std::sync::Arc;

use jiff::Timestamp;

use super::{AccountError, Accounts};
use crate::account::{Identity, Login, PasswordHash, Role, User, UserId};
use crate::store::{AccountChange, StoreError};
use crate::workflow::{Digest, Revision};

/// Longest name of a user, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// Longest name of a user at the sign-in provider, in bytes (OpenID Connect Core 1.0, section 2).
const SUBJECT_BYTES_MAX: usize = 255;
/// Longest URL of a sign-in provider, in bytes.
const ISSUER_BYTES_MAX: usize = 2048;
/// Longest password, in bytes: what is hashed has a limit.
const PASSWORD_BYTES_MAX: usize = 1024;

/// A user that is to be made.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// The login, as it was given.
    pub login: String,
    /// What people call the user.
    pub name: String,
    /// The role.
    pub role: Role,
    /// `None` for a user who gets a link first.
    pub password: Option<String>,
}

/// What changes of a user; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct UserPatch {
    /// What people call the user.
    pub name: Option<String>,
    /// The role.
    pub role: Option<Role>,
    /// Whether the user can do nothing.
    pub disabled: Option<bool>,
    /// Who the user is at the sign-in provider; `Some(None)` parts it from whoever it was.
    pub identity: Option<Option<Identity>>,
}

impl Accounts {
    /// All users, in the order of their logins.
    pub fn users(&self) -> Vec<Arc<User>> {
        self.read().users().cloned().collect()
    }

    /// The user with this login.
    ///
    /// # Errors
    /// [`AccountError::Missing`].
    pub fn user(&self, login: &str) -> Result<Arc<User>, AccountError> {
        let known = login.parse::<Login>().ok().and_then(|login| self.read().by_login(&login).cloned());
        known.ok_or_else(|| AccountError::Missing { what: format!("the user {login:.80?}") })
    }

    /// The user with this id.
    pub fn user_by_id(&self, id: UserId) -> Option<Arc<User>> {
        self.read().user(id).cloned()
    }

    /// Makes a user.
    ///
    /// # Errors
    /// A login that is taken, or a field that is wrong.
    pub async fn add_user(&self, new: NewUser) -> Result<Arc<User>, AccountError> {
        let login: Login = new.login.parse()?;
        check_name(&new.name)?;
        let password = match new.password {
            Some(password) => Some(self.hash_new(&login, &password).await?),
            None => None,
        };
        let user = User { name: new.name, password, ..fresh(login, new.role, Timestamp::now()) };
        self.put_new(user).await
    }

    /// Adds a user, as it is.
    pub(super) async fn put_new(&self, user: User) -> Result<Arc<User>, AccountError> {
        let _gate = self.gate.lock().await;
        let (users, max) = (self.read().users().count(), self.config.users_max);
        if users >= max {
            return Err(AccountError::Limit {
                what: format!("one more than {users} users"),
                limit: format!("{max} users"),
            });
        }
        let put = self.commit_gated(vec![AccountChange::PutUser(user)]).await?;
        put.into_iter().next().ok_or_else(|| AccountError::Missing { what: "the user".to_owned() })
    }

    /// Changes a user. One that is disabled has no sessions and no links from then on; its
    /// tokens work again when it is enabled. One that is another at the provider has to sign
    /// in again.
    ///
    /// # Errors
    /// [`AccountError::Missing`], or a field that is wrong.
    pub async fn change_user(&self, login: &str, patch: UserPatch) -> Result<Arc<User>, AccountError> {
        if let Some(name) = &patch.name {
            check_name(name)?;
        }
        let _gate = self.gate.lock().await;
        let before = self.user(login)?;
        let user = User {
            name: patch.name.unwrap_or_else(|| before.name.clone()),
            role: patch.role.unwrap_or(before.role),
            disabled: patch.disabled.unwrap_or(before.disabled),
            identity: patch.identity.unwrap_or_else(|| before.identity.clone()),
            ..(*before).clone()
        };
        if let Some(identity) = user.identity.as_ref().filter(|_| user.identity != before.identity) {
            self.check_identity(identity, &user)?;
        }
        // A session begun with other rights, or by somebody else, does not go on.
        let ends_sessions = user.disabled || user.role != before.role || user.identity != before.identity;
        self.put_user(user, ends_sessions.then_some(None)).await
    }

    /// Gives a user a password, or takes it away. All sessions of the user end, but `keep`;
    /// so do its links.
    ///
    /// # Errors
    /// [`AccountError::Missing`], or a password that is too short or too long.
    pub async fn set_password(
        &self,
        login: &str,
        password: Option<&str>,
        keep: Option<Digest>,
    ) -> Result<Arc<User>, AccountError> {
        let known = self.user(login)?;
        let hash = match password {
            Some(password) => Some(self.hash_new(&known.login, password).await?),
            None => None,
        };
        let _gate = self.gate.lock().await;
        let before = self.user(login)?;
        self.put_user(User { password: hash, ..(*before).clone() }, Some(keep)).await
    }

    /// Replaces a user; `ends` are its sessions and links, but one. The caller holds the
    /// gate.
    pub(super) async fn put_user(
        &self,
        user: User,
        ends: Option<Option<Digest>>,
    ) -> Result<Arc<User>, AccountError> {
        let id = user.id;
        let mut changes = vec![AccountChange::PutUser(user)];
        if let Some(keep) = ends {
            let memory = self.read();
            let sessions = memory.sessions_of(id).into_iter().filter(|session| Some(*session) != keep);
            changes.extend(sessions.map(AccountChange::DeleteSession));
            changes.extend(memory.links_of(id).into_iter().map(AccountChange::DeleteLink));
        }
        let put = self.commit_gated(changes).await?;
        put.into_iter().next().ok_or_else(|| StoreError::Missing { what: "the user".to_owned() }.into())
    }

    /// Whether a user can be this one at the provider. The caller holds the gate.
    fn check_identity(&self, identity: &Identity, user: &User) -> Result<(), AccountError> {
        let wrong = |reason: String| Err(AccountError::Invalid { field: "identity", reason });
        let is_text = |text: &str, bytes_max| {
            !text.is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
        };
        if !is_text(&identity.subject, SUBJECT_BYTES_MAX) {
            return wrong(format!(
                "a subject has 1 to {SUBJECT_BYTES_MAX} bytes, without control characters"
            ));
        }
        if !is_text(&identity.issuer, ISSUER_BYTES_MAX) {
            return wrong(format!("an issuer has 1 to {ISSUER_BYTES_MAX} bytes, without control characters"));
        }
        let memory = self.read();
        let other =
            memory.users().find(|other| other.id != user.id && other.identity.as_ref() == Some(identity));
        other.map_or(Ok(()), |other| wrong(format!("it is the user {} already", other.login)))
    }

    async fn hash_new(&self, login: &Login, password: &str) -> Result<PasswordHash, AccountError> {
        let wrong = |reason: String| Err(AccountError::Invalid { field: "password", reason });
        let min = self.config.password_chars_min;
        let chars = password.chars().count();
        if chars < min {
            return wrong(format!("has {chars} characters, at least {min} are needed"));
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return wrong(format!("has {} bytes, at most {PASSWORD_BYTES_MAX} are allowed", password.len()));
        }
        if password.eq_ignore_ascii_case(login.as_str()) {
            return wrong("is the login".to_owned());
        }
        self.hashing.hash(password).await
    }
}

/// A user without anything to sign in by.
pub(super) fn fresh(login: Login, role: Role, now: Timestamp) -> User {
    User {
        id: UserId::new(),
        login,
        name: String::new(),
        role,
        password: None,
        identity: None,
        disabled: false,
        created_at: now,
        updated_at: now,
        revision: Revision::default(),
    }
}

/// What of a name that somebody else gave can be kept.
pub(super) fn fitting_name(name: &str) -> String {
    let shown: String = name.chars().filter(|char| !char.is_control()).collect();
    shown[..shown.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
}

fn check_name(name: &str) -> Result<(), AccountError> {
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let reason = format!("must be at most {NAME_BYTES_MAX} bytes, without control characters");
        return Err(AccountError::Invalid { field: "name", reason });
    }
    Ok(())
}
