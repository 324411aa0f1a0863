//! Users, tokens, sessions and one-time links among the metadata.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys::{Key, Put};
use super::metadata::{BadValue, parse, put, replace};
use super::{Result, StoreError};
use crate::account::{OneTimeLink, Session, Token, TokenId, User, UserId};
use crate::workflow::{Digest, Revision};

/// Everything that is kept of accounts. No secret is in it, but hashes are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Accounts {
    /// In the order in which they were made.
    pub users: Vec<User>,
    /// In the order in which they were made.
    pub tokens: Vec<Token>,
    /// In no order that means something.
    pub sessions: Vec<Session>,
    /// In no order that means something.
    pub links: Vec<OneTimeLink>,
}

/// One change of what is kept of accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChange {
    /// Adds a user, or replaces the one with its id whose stored revision is its revision;
    /// it is stored with the next one. Login and `created_at` stay what they are.
    PutUser(User),
    /// Adds a token, or replaces the one with its id.
    PutToken(Token),
    /// Deletes a token; it need not be there.
    DeleteToken(TokenId),
    /// Adds a session, or replaces the one with its digest.
    PutSession(Session),
    /// Deletes a session. It has to be there: of two who end one, or use up one link, only
    /// one does.
    DeleteSession(Digest),
    /// Adds a one-time link.
    PutLink(OneTimeLink),
    /// Deletes a one-time link. It has to be there.
    DeleteLink(Digest),
}

/// The same, by what it is looked up with.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptAccounts {
    users: BTreeMap<UserId, User>,
    tokens: BTreeMap<TokenId, Token>,
    sessions: BTreeMap<Digest, Session>,
    links: BTreeMap<Digest, OneTimeLink>,
}

impl KeptAccounts {
    pub(super) fn all(&self) -> Accounts {
        Accounts {
            users: self.users.values().cloned().collect(),
            tokens: self.tokens.values().cloned().collect(),
            sessions: self.sessions.values().cloned().collect(),
            links: self.links.values().cloned().collect(),
        }
    }

    /// Takes over a value; one that is of no account is left alone.
    pub(super) fn take(&mut self, key: &Key, value: Option<&[u8]>) -> std::result::Result<(), BadValue> {
        match key {
            Key::User(id) => replace(&mut self.users, *id, read(key, value)?),
            Key::Token(id) => replace(&mut self.tokens, *id, read(key, value)?),
            Key::Session(digest) => replace(&mut self.sessions, *digest, read(key, value)?),
            Key::OneTimeLink(digest) => replace(&mut self.links, *digest, read(key, value)?),
            _ => {}
        }
        Ok(())
    }

    /// Applies all changes, or none.
    pub(super) fn plan(&self, changes: Vec<AccountChange>) -> Result<(Vec<Put>, Vec<User>)> {
        let missing = |what: &str| StoreError::Missing { what: what.to_owned() };
        let (mut puts, mut users) = (Vec::with_capacity(changes.len()), Vec::new());
        for change in changes {
            puts.push(match change {
                AccountChange::PutUser(user) => {
                    let user = self.plan_user(user)?;
                    let value = put(Key::User(user.id), &user)?;
                    users.push(user);
                    value
                }
                AccountChange::PutToken(token) => {
                    self.need_user(token.user, &puts)?;
                    put(Key::Token(token.id), &token)?
                }
                AccountChange::DeleteToken(id) => (Key::Token(id), None),
                AccountChange::PutSession(session) => {
                    self.need_user(session.user, &puts)?;
                    put(Key::Session(session.digest), &session)?
                }
                AccountChange::DeleteSession(digest) if self.sessions.contains_key(&digest) => {
                    (Key::Session(digest), None)
                }
                AccountChange::DeleteSession(_) => return Err(missing("the session")),
                AccountChange::PutLink(link) => {
                    self.need_user(link.user, &puts)?;
                    put(Key::OneTimeLink(link.digest), &link)?
                }
                AccountChange::DeleteLink(digest) if self.links.contains_key(&digest) => {
                    (Key::OneTimeLink(digest), None)
                }
                AccountChange::DeleteLink(_) => return Err(missing("the one-time link")),
            });
        }
        Ok((puts, users))
    }

    fn plan_user(&self, mut user: User) -> Result<User> {
        match self.users.get(&user.id) {
            Some(stored) if stored.revision != user.revision => Err(StoreError::Conflict {
                what: format!("user {}", stored.login),
                expected: user.revision,
                found: stored.revision,
            }),
            Some(stored) => {
                user.login = stored.login.clone();
                user.created_at = stored.created_at;
                user.updated_at = Timestamp::now().max(stored.updated_at);
                user.revision = Revision(stored.revision.0 + 1);
                Ok(user)
            }
            None if self.users.values().any(|other| other.login == user.login) => {
                Err(StoreError::LoginTaken(user.login))
            }
            None => Ok(user),
        }
    }

    fn need_user(&self, id: UserId, puts: &[Put]) -> Result<()> {
        let is_there = self.users.contains_key(&id) || puts.iter().any(|(key, _)| *key == Key::User(id));
        if is_there { Ok(()) } else { Err(StoreError::Missing { what: format!("user {id}") }) }
    }
}

impl Accounts {
    /// Everything as values to put.
    pub(super) fn puts(&self) -> Result<Vec<Put>> {
        let users = self.users.iter().map(|user| put(Key::User(user.id), user));
        let tokens = self.tokens.iter().map(|token| put(Key::Token(token.id), token));
        let sessions = self.sessions.iter().map(|session| put(Key::Session(session.digest), session));
        let links = self.links.iter().map(|link| put(Key::OneTimeLink(link.digest), link));
        users.chain(tokens).chain(sessions).chain(links).collect()
    }
}

fn read<T: serde::de::DeserializeOwned>(
    key: &Key,
    value: Option<&[u8]>,
) -> std::result::Result<Option<T>, BadValue> {
    value.map(|value| parse(key, value)).transpose()
}
