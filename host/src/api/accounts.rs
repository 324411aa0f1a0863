//! Users, tokens and sessions.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::account::{Login, Role, Scope, SignInMeans, Token, TokenId, User, UserId};

/// `GET /api/v1/me`: who asks, and by what right.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct MeView {
    /// The login.
    pub login: Login,
    /// The role.
    pub role: Role,
    /// Which of the user's rights are used.
    pub scopes: Vec<Scope>,
    /// `admin-token`, `token`, `password` or `session`.
    pub via: String,
    /// The token that is used; its id, no secret.
    pub token: Option<TokenId>,
    /// By what the session was begun.
    pub means: Option<SignInMeans>,
}

/// `POST /api/v1/session`: a session that was begun.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionView {
    /// Who signed in.
    pub login: Login,
    /// The role.
    pub role: Role,
    /// When the session ends at the latest.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// `GET /api/v1/sign-in`: by what one can sign in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignInView {
    /// Whether login and password are taken.
    pub password: bool,
    /// The sign-in provider, where one is configured.
    pub provider: Option<ProviderView>,
}

/// A sign-in provider.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProviderView {
    /// What people call it.
    pub name: String,
    /// Where a browser goes to sign in by it.
    pub url: String,
}

/// `POST /api/v1/session/proof`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProveSession {
    /// The password of the session's user.
    pub password: String,
}

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// Names the user for ever.
    pub id: UserId,
    /// Names the user for people.
    pub login: Login,
    /// What people call the user; may be empty.
    pub name: String,
    /// What the user may do beside what workflows grant.
    pub role: Role,
    /// Whether the user can do nothing.
    pub disabled: bool,
    /// Whether the user can sign in with a password.
    pub has_password: bool,
    /// Whether the user has signed in by the sign-in provider, and is known by it.
    pub has_provider: bool,
    /// When the user was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When anything of the user changed last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            login: user.login.clone(),
            name: user.name.clone(),
            role: user.role,
            disabled: user.disabled,
            has_password: user.password.is_some(),
            has_provider: user.identity.is_some(),
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// `GET /api/v1/users`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserList {
    /// In the order of their logins.
    pub users: Vec<UserView>,
}

/// `POST /api/v1/users`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// A text, so that a bad one gets its own message.
    #[schema(pattern = "^[a-z0-9][a-z0-9._@+-]{0,63}$")]
    pub login: String,
    /// What people call the user.
    #[serde(default)]
    pub name: String,
    /// `member` when it is left out.
    #[serde(default = "member")]
    pub role: Role,
    /// Left out, the user signs in by a link first: `POST /api/v1/users/{login}/link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

fn member() -> Role {
    Role::Member
}

/// `PATCH /api/v1/users/{login}`: what is left out stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchUser {
    /// What people call the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The role. Another one ends the user's sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// `true` takes all rights away, with every session and token; `false` gives them back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Who the user is at the sign-in provider, who signs in as it from then on; `null` parts
    /// the two. Either ends the user's sessions.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IdentitySpec>)]
    pub identity: Option<Option<IdentitySpec>>,
}

/// Somebody at a sign-in provider.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentitySpec {
    /// The provider's `iss`; the one that is configured when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What it calls its user for ever, `sub`; 1 to 255 bytes.
    pub subject: String,
}

/// `PUT .../password`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutPassword {
    /// The new password; `null` takes it away.
    pub password: Option<String>,
    /// The present one, where the user changes its own and has one. Not needed in a session
    /// that was begun by a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
}

/// `POST /api/v1/users/{login}/link`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// Where the user signs in, once.
    pub url: String,
    /// From when on it does not work.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// A token, without its secret.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Names it.
    pub id: TokenId,
    /// Whose rights it has.
    pub login: Login,
    /// What it is for.
    pub label: String,
    /// Which of its user's rights it has.
    pub scopes: Vec<Scope>,
    /// Whether it works: not when it was revoked, has expired, or its user is disabled.
    pub works: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From when on it does not work; `None` for never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, to within ten minutes.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}

impl TokenView {
    /// The view of a user's token.
    pub fn new(token: &Token, user: &User, now: Timestamp) -> Self {
        Self {
            id: token.id,
            login: user.login.clone(),
            label: token.label.clone(),
            scopes: token.scopes.list(),
            works: token.is_valid(now) && !user.disabled,
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            used_at: token.used_at,
        }
    }
}

/// `GET /api/v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// In the order in which they were made.
    pub tokens: Vec<TokenView>,
}

/// `POST /api/v1/tokens`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for.
    #[serde(default)]
    pub label: String,
    /// Which of the user's rights it has, none that whoever asks does not use. Left out,
    /// `read`, `run` and `write`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<Scope>>,
    /// From when on it does not work (RFC 3339); never, when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Whose it is, for admins; one's own when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// The answer to `POST /api/v1/tokens`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token itself. It is shown this once, and kept nowhere.
    pub secret: String,
    /// The rest.
    #[serde(flatten)]
    pub token: TokenView,
}
