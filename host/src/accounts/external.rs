//! Signing in by the sign-in provider: which user here somebody there is.

use std::sync::Arc;

use jiff::Timestamp;

use super::{AccountError, Accounts, NewSession, users};
use crate::account::{BUILT_IN_ADMIN, Login, Role, SignInMeans, User};
use crate::oidc::External;
use crate::store::StoreError;
use crate::workflow::Digest;

/// A user whom the provider has signed in.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The user.
    pub user: Arc<User>,
    /// Whether it was made by this.
    pub is_new: bool,
    /// Whether a user who was there is this identity's from now on.
    pub is_linked: bool,
}

impl Accounts {
    /// The user whom somebody at the provider is: the one with the same issuer and subject,
    /// whatever names and addresses have become of; else a user who is linked or made, where
    /// that is configured. Its role follows its groups, but for the built-in admin's.
    ///
    /// # Errors
    /// [`AccountError::NoAccount`]; [`AccountError::Disabled`]; what making a user can fail by.
    pub async fn admit(&self, external: &External) -> Result<Admitted, AccountError> {
        let mut admitted = match self.of_identity(external) {
            Some(user) => Admitted { user, is_new: false, is_linked: false },
            None => match self.make_known(external).await {
                // Two browsers came with the same new user at once.
                Err(AccountError::Store(StoreError::LoginTaken(_) | StoreError::Conflict { .. })) => {
                    let user = self.of_identity(external);
                    let user = user.ok_or_else(|| taken(external.login.as_deref().unwrap_or_default()))?;
                    Admitted { user, is_new: false, is_linked: false }
                }
                other => other?,
            },
        };
        if admitted.user.disabled {
            return Err(AccountError::Disabled(admitted.user.login.clone()));
        }
        if let Some(role) = external.role
            && role != admitted.user.role
            && admitted.user.login.as_str() != BUILT_IN_ADMIN
        {
            let patch = users::UserPatch { role: Some(role), ..Default::default() };
            admitted.user = self.change_user(admitted.user.login.as_str(), patch).await?;
        }
        Ok(admitted)
    }

    /// Begins a session of a user whom the provider has signed in.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_in_admitted(
        &self,
        user: &User,
        previous: Option<&str>,
    ) -> Result<NewSession, AccountError> {
        self.begin(user, SignInMeans::Oidc, None, previous).await
    }

    fn of_identity(&self, external: &External) -> Option<Arc<User>> {
        let memory = self.read();
        memory.users().find(|user| user.identity.as_ref() == Some(&external.identity)).cloned()
    }

    async fn make_known(&self, external: &External) -> Result<Admitted, AccountError> {
        let by_email = external.verified_email.as_deref().and_then(|email| self.user(email).ok());
        if let Some(user) = by_email.filter(|user| user.identity.is_none()) {
            if user.disabled {
                return Err(AccountError::Disabled(user.login.clone()));
            }
            let identity = Some(external.identity.clone());
            let _gate = self.gate.lock().await;
            let user = self.put_user(User { identity, ..(*user).clone() }, None).await?;
            return Ok(Admitted { user, is_new: false, is_linked: true });
        }
        if !external.may_create {
            let reason = "the provider's account belongs to no user of this host";
            return Err(AccountError::NoAccount(reason.to_owned()));
        }
        let Some(login) = external.login.as_deref() else {
            let reason = "the provider does not say what a new user's login is (oidc.login_claim)";
            return Err(AccountError::NoAccount(reason.to_owned()));
        };
        let login: Login = login.parse()?;
        if self.user(login.as_str()).is_ok() {
            return Err(taken(login.as_str()));
        }
        let role = external.role.unwrap_or(Role::Member);
        let name = users::fitting_name(&external.name);
        let identity = Some(external.identity.clone());
        let user = User { name, identity, ..users::fresh(login, role, Timestamp::now()) };
        let user = self.put_new(user).await?;
        Ok(Admitted { user, is_new: true, is_linked: false })
    }

    /// Whether somebody at the provider is the user who has a session.
    pub fn is_session_of(&self, session: Digest, external: &External) -> bool {
        let memory = self.read();
        let user = memory.session(&session).and_then(|session| memory.enabled(session.user));
        user.is_some_and(|user| user.identity.as_ref() == Some(&external.identity))
    }
}

/// A user of that login is there, and nothing says that it is the same one.
fn taken(login: &str) -> AccountError {
    AccountError::NoAccount(format!(
        "the login {login} is another user's here, who is not linked to the provider's account"
    ))
}

#[cfg(test)]
mod tests;
