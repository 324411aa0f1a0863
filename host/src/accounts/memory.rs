//! The accounts in memory, by what they are looked up with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::account::{Login, OneTimeLink, Session, Token, TokenId, User, UserId};
use crate::store::{self, AccountChange};
use crate::workflow::Digest;

#[derive(Default)]
pub(super) struct Memory {
    users: HashMap<UserId, Arc<User>>,
    logins: BTreeMap<Login, UserId>,
    tokens: HashMap<Digest, Token>,
    token_digests: BTreeMap<TokenId, Digest>,
    sessions: HashMap<Digest, Session>,
    links: HashMap<Digest, OneTimeLink>,
}

impl Memory {
    pub(super) fn new(kept: store::Accounts) -> Self {
        let mut memory = Self::default();
        let users: Vec<_> = kept.users.into_iter().map(Arc::new).collect();
        let tokens = kept.tokens.into_iter().map(AccountChange::PutToken);
        let sessions = kept.sessions.into_iter().map(AccountChange::PutSession);
        let links = kept.links.into_iter().map(AccountChange::PutLink);
        memory.apply(tokens.chain(sessions).chain(links).collect(), &users);
        memory
    }

    /// Takes over changes that the store made; `users` are those that were put.
    pub(super) fn apply(&mut self, changes: Vec<AccountChange>, users: &[Arc<User>]) {
        for user in users {
            self.logins.insert(user.login.clone(), user.id);
            self.users.insert(user.id, user.clone());
        }
        for change in changes {
            match change {
                AccountChange::PutUser(_) => {}
                AccountChange::PutToken(token) => {
                    self.token_digests.insert(token.id, token.digest);
                    self.tokens.insert(token.digest, token);
                }
                AccountChange::DeleteToken(id) => {
                    if let Some(digest) = self.token_digests.remove(&id) {
                        self.tokens.remove(&digest);
                    }
                }
                AccountChange::PutSession(session) => drop(self.sessions.insert(session.digest, session)),
                AccountChange::DeleteSession(digest) => drop(self.sessions.remove(&digest)),
                AccountChange::PutLink(link) => drop(self.links.insert(link.digest, link)),
                AccountChange::DeleteLink(digest) => drop(self.links.remove(&digest)),
            }
        }
    }

    // ---- reading -----------------------------------------------------------------------

    /// All users, in the order of their logins.
    pub(super) fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.logins.values().filter_map(|id| self.users.get(id))
    }

    pub(super) fn by_login(&self, login: &Login) -> Option<&Arc<User>> {
        self.users.get(self.logins.get(login)?)
    }

    pub(super) fn user(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(&id)
    }

    /// The user, unless it is disabled.
    pub(super) fn enabled(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(&id).filter(|user| !user.disabled)
    }

    pub(super) fn token(&self, digest: &Digest) -> Option<&Token> {
        self.tokens.get(digest)
    }

    pub(super) fn token_by_id(&self, id: TokenId) -> Option<&Token> {
        self.tokens.get(self.token_digests.get(&id)?)
    }

    /// All tokens, in the order in which they were made.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.token_digests.values().filter_map(|digest| self.tokens.get(digest))
    }

    pub(super) fn session(&self, digest: &Digest) -> Option<&Session> {
        self.sessions.get(digest)
    }

    pub(super) fn sessions_of(&self, user: UserId) -> Vec<Digest> {
        self.sessions.values().filter(|session| session.user == user).map(|session| session.digest).collect()
    }

    pub(super) fn link(&self, digest: &Digest) -> Option<&OneTimeLink> {
        self.links.get(digest)
    }

    pub(super) fn links_of(&self, user: UserId) -> Vec<Digest> {
        self.links.values().filter(|link| link.user == user).map(|link| link.digest).collect()
    }

    /// The sessions of a user that have to end before another one begins: those that were
    /// used longest ago.
    pub(super) fn surplus_sessions(&self, user: UserId, max: usize) -> Vec<Digest> {
        let mut own: Vec<&Session> = self.sessions.values().filter(|session| session.user == user).collect();
        own.sort_by_key(|session| session.seen_at);
        let surplus = (own.len() + 1).saturating_sub(max);
        own.iter().take(surplus).map(|session| session.digest).collect()
    }

    /// What takes away everything that does not work any more.
    pub(super) fn dead(
        &self,
        now: Timestamp,
        idle: SignedDuration,
        absolute: SignedDuration,
        tokens_kept: SignedDuration,
    ) -> Vec<AccountChange> {
        let sessions = self.sessions.values().filter(|session| !session.is_valid(now, idle, absolute));
        let links = self.links.values().filter(|link| now >= link.expires_at);
        let tokens = self.tokens.values().filter(|token| {
            let end = token.revoked_at.into_iter().chain(token.expires_at).min();
            end.is_some_and(|end| now.duration_since(end) > tokens_kept)
        });
        let sessions = sessions.map(|session| AccountChange::DeleteSession(session.digest));
        let links = links.map(|link| AccountChange::DeleteLink(link.digest));
        sessions.chain(links).chain(tokens.map(|token| AccountChange::DeleteToken(token.id))).collect()
    }

    // ---- times of use ------------------------------------------------------------------

    /// Takes over a time of use; `false` when what was used is gone meanwhile.
    pub(super) fn touch(&mut self, change: &AccountChange) -> bool {
        match change {
            AccountChange::PutToken(token) => {
                let present = self.tokens.get_mut(&token.digest);
                present.map(|present| present.used_at = token.used_at).is_some()
            }
            AccountChange::PutSession(session) => {
                let present = self.sessions.get_mut(&session.digest);
                present.map(|present| present.seen_at = session.seen_at).is_some()
            }
            _ => false,
        }
    }

    /// Whether nothing has changed since a time of use was taken over.
    pub(super) fn is_current(&self, change: &AccountChange) -> bool {
        match change {
            AccountChange::PutToken(token) => self.tokens.get(&token.digest) == Some(token),
            AccountChange::PutSession(session) => self.sessions.get(&session.digest) == Some(session),
            _ => false,
        }
    }
}
