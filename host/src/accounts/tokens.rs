//! Tokens: made, listed, revoked.

use std::sync::Arc;

use jiff::Timestamp;

use super::{AccountError, Accounts};
use crate::account::{Scopes, Secret, SecretKind, Token, TokenId, User, UserId};
use crate::store::AccountChange;

/// Longest label of a token, in bytes.
const LABEL_BYTES_MAX: usize = 200;

/// A token that is to be made.
#[derive(Debug, Clone)]
pub struct TokenSpec {
    /// What it is for, for people.
    pub label: String,
    /// Which of its user's rights it has; at least one.
    pub scopes: Scopes,
    /// From when on it does not work; `None` for never.
    pub expires_at: Option<Timestamp>,
}

/// A token that was made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The token itself: shown once.
    pub secret: Secret,
    /// What is kept of it.
    pub token: Token,
}

impl Accounts {
    /// Makes a token for a user.
    ///
    /// # Errors
    /// A field that is wrong, or too many tokens.
    pub async fn add_token(&self, user: &User, spec: TokenSpec) -> Result<NewToken, AccountError> {
        let wrong = |field, reason: &str| Err(AccountError::Invalid { field, reason: reason.to_owned() });
        let now = Timestamp::now();
        if spec.label.len() > LABEL_BYTES_MAX || spec.label.chars().any(char::is_control) {
            return wrong("label", "must be at most 200 bytes, without control characters");
        }
        if spec.scopes.is_empty() {
            return wrong("scopes", "name at least one");
        }
        if spec.expires_at.is_some_and(|end| end <= now) {
            return wrong("expires_at", "has passed already");
        }
        let _gate = self.gate.lock().await;
        let valid = self.tokens(Some(user.id)).iter().filter(|token| token.is_valid(now)).count();
        let max = self.config.tokens_max;
        if valid >= max {
            return Err(AccountError::Limit {
                what: format!("one more than {valid} tokens of a user"),
                limit: format!("{max} tokens"),
            });
        }
        let secret = Secret::random(SecretKind::Token);
        let token = Token {
            id: TokenId::new(),
            user: user.id,
            digest: secret.digest(),
            label: spec.label,
            scopes: spec.scopes,
            created_at: now,
            expires_at: spec.expires_at,
            revoked_at: None,
            used_at: None,
        };
        self.commit_gated(vec![AccountChange::PutToken(token.clone())]).await?;
        Ok(NewToken { secret, token })
    }

    /// The tokens of a user, or of all, in the order in which they were made; also those
    /// that stopped working in the last month.
    pub fn tokens(&self, of: Option<UserId>) -> Vec<Token> {
        let memory = self.read();
        memory.tokens().filter(|token| of.is_none_or(|user| token.user == user)).cloned().collect()
    }

    /// The token with this id, and its user.
    ///
    /// # Errors
    /// [`AccountError::Missing`].
    pub fn token(&self, id: &str) -> Result<(Token, Arc<User>), AccountError> {
        let missing = || AccountError::Missing { what: format!("the token {id:.40?}") };
        let parsed: TokenId = id.parse().map_err(|_| missing())?;
        let memory = self.read();
        let token = memory.token_by_id(parsed).ok_or_else(missing)?;
        let user = memory.user(token.user).ok_or_else(missing)?;
        Ok((token.clone(), user.clone()))
    }

    /// Makes a token stop working, at once. One that has already is no error.
    ///
    /// # Errors
    /// [`AccountError::Missing`].
    pub async fn revoke_token(&self, id: &str) -> Result<Token, AccountError> {
        let _gate = self.gate.lock().await;
        let (token, _) = self.token(id)?;
        if token.revoked_at.is_some() {
            return Ok(token);
        }
        let token = Token { revoked_at: Some(Timestamp::now()), ..token };
        self.commit_gated(vec![AccountChange::PutToken(token.clone())]).await?;
        Ok(token)
    }
}
