//! Signing in and out, users, tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::access::{self, Who};
use super::audit::Note;
use super::auth::{self, Credentials};
use super::extract::{JsonBody, OptionalJson, Params, Segments};
use super::{Api, ApiError, Client, Shared};
use crate::account::{Account, Identity, Scope, Scopes, Secret, SecretKind, SignInMeans, User, Via};
use crate::accounts::{
    AccountError, COOKIE, COOKIE_LOOPBACK, NewSession, NewUser, OIDC_PATH, TokenSpec, UserPatch,
};
use crate::api::{
    CreateToken, CreateUser, CreatedToken, ErrorBody, IdentitySpec, LinkView, MeView, PatchUser,
    ProveSession, ProviderView, PutPassword, SessionView, SignInView, TokenList, TokenView, UserList,
    UserView,
};

/// Scopes of a token when its maker names none.
const SCOPES_DEFAULT: [Scope; 3] = [Scope::Read, Scope::Run, Scope::Write];

impl Who {
    /// The account that asks. The route's rule has let nobody else through.
    pub(super) fn account(&self) -> Result<&Account, ApiError> {
        self.0.account().ok_or(ApiError::Unauthorized)
    }
}

/// Signs in: begins a session, whose cookie the answer sets. Takes login and password
/// (`Authorization: Basic`), or the secret of a sign-in link, or the token in the data
/// folder (`Authorization: Bearer`). A session that the browser had ends.
#[utoipa::path(
    post, path = "/api/v1/session", operation_id = "signIn", tag = "accounts",
    responses(
        (status = 201, description = "The session", body = SessionView,
            headers(("set-cookie" = String, description = "The session's cookie"))),
        (status = 429, description = "Too many failed sign-ins; `Retry-After` says when to try again", body = ErrorBody),
    ),
)]
pub(super) async fn sign_in(
    State(api): Shared,
    note: Note,
    request: Parts,
) -> Result<impl IntoResponse, ApiError> {
    let accounts = &api.app.accounts;
    let previous = auth::session_cookie(&request);
    let (means, began) = match auth::credentials(&request) {
        Some(Credentials::Password { login, password }) => {
            note.tried(&api, &login);
            ("password", accounts.sign_in(&login, &password, auth::address(&request), previous).await)
        }
        Some(Credentials::Bearer(text)) if Secret::parse(SecretKind::OneTimeLink, text).is_some() => {
            ("link", accounts.one_time(text, previous).await)
        }
        Some(Credentials::Bearer(text)) => ("token", accounts.exchange(text, previous).await),
        Some(Credentials::Cookie(_)) | None => return Err(ApiError::Unauthorized),
    };
    let outcome = began.as_ref().map_or_else(AccountError::sign_in_outcome, |_| "begun");
    api.app.telemetry.sign_ins.count(means, outcome);
    let NewSession { secret, actor, expires_at } = began?;
    let account = actor.account().ok_or(ApiError::Unauthorized)?;
    note.is(&account.login);
    let view = SessionView { login: account.login.clone(), role: account.role, expires_at };
    let cookies = cookies(&request, Some(&secret));
    Ok((StatusCode::CREATED, cookies, Json(view)))
}

/// By what one can sign in here: what a sign-in page offers.
#[utoipa::path(
    get, path = "/api/v1/sign-in", operation_id = "showSignIn", tag = "accounts",
    responses((status = 200, description = "The ways", body = SignInView)),
)]
pub(super) async fn sign_in_ways(State(api): Shared) -> Json<SignInView> {
    let url = format!("{}{}", api.app.urls.url, OIDC_PATH);
    let provider = api.app.oidc.as_ref().map(|oidc| ProviderView { name: oidc.name().to_owned(), url });
    Json(SignInView { password: true, provider })
}

/// The headers that set the session's cookie, or take it away.
fn cookies(request: &Parts, secret: Option<&Secret>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let (value, end) = match secret {
        Some(secret) => (secret.expose(), ""),
        None => ("", "; Max-Age=0"),
    };
    let rest = format!("{value}; Path=/; HttpOnly; SameSite=Lax{end}");
    let mut lines = vec![format!("{COOKIE}={rest}; Secure")];
    if auth::is_local(request) {
        lines.push(format!("{COOKIE_LOOPBACK}={rest}"));
    }
    for line in lines {
        if let Ok(line) = HeaderValue::from_str(&line) {
            headers.append(header::SET_COOKIE, line);
        }
    }
    headers
}

/// Signs out: ends the session, or revokes the token, by which this is asked. The token in
/// the data folder stays.
#[utoipa::path(
    delete, path = "/api/v1/session", operation_id = "signOut", tag = "accounts",
    responses((status = 204, description = "It is over")),
)]
pub(super) async fn sign_out(
    State(api): Shared,
    who: Who,
    request: Parts,
) -> Result<impl IntoResponse, ApiError> {
    match who.account()?.via {
        Via::Session { digest, .. } => api.app.accounts.end_session(digest).await?,
        Via::Token(id) => drop(api.app.accounts.revoke_token(&id.to_string()).await?),
        Via::AdminToken | Via::Password => {}
    }
    Ok((StatusCode::NO_CONTENT, cookies(&request, None)))
}

/// Proves that a session is still its user's, with the password. For `accounts.proof_s`
/// it may do then what an old session may not do alone: change users, tokens and passwords,
/// rotate keys, take backups, make settings plain. Those are refused with `proof-needed` else.
#[utoipa::path(
    post, path = "/api/v1/session/proof", operation_id = "proveSession", tag = "accounts",
    request_body = ProveSession,
    responses(
        (status = 204, description = "It is proved"),
        (status = 409, description = "It was asked for by something else than a session", body = ErrorBody),
        (status = 429, description = "The password was wrong too often", body = ErrorBody),
    ),
)]
pub(super) async fn prove(
    State(api): Shared,
    who: Who,
    axum::Extension(client): axum::Extension<Client>,
    JsonBody(ProveSession { password }): JsonBody<ProveSession>,
) -> Result<StatusCode, ApiError> {
    let accounts = &api.app.accounts;
    let account = who.account()?;
    let Via::Session { digest, .. } = account.via else { return Err(ApiError::NoSession) };
    accounts.check_password(account.login.as_str(), &password, client.0).await?;
    accounts.prove(digest).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who asks, and by what right.
#[utoipa::path(
    get, path = "/api/v1/me", operation_id = "showMe", tag = "accounts",
    responses((status = 200, description = "The account", body = MeView)),
)]
pub(super) async fn me(who: Who) -> Result<Json<MeView>, ApiError> {
    let Account { login, role, scopes, via, .. } = who.account()?.clone();
    let (via, token, means) = match via {
        Via::AdminToken => ("admin-token", None, None),
        Via::Token(id) => ("token", Some(id), None),
        Via::Password => ("password", None, None),
        Via::Session { means, .. } => ("session", None, Some(means)),
    };
    Ok(Json(MeView { login, role, scopes: scopes.list(), via: via.to_owned(), token, means }))
}

/// Sets one's own password. All other sessions end.
#[utoipa::path(
    put, path = "/api/v1/me/password", operation_id = "setOwnPassword", tag = "accounts",
    request_body = PutPassword,
    responses(
        (status = 200, description = "The user", body = UserView),
        (status = 422, description = "The password is too short or too long", body = ErrorBody),
        (status = 429, description = "The present password was wrong too often", body = ErrorBody),
    ),
)]
pub(super) async fn set_own_password(
    State(api): Shared,
    who: Who,
    axum::Extension(client): axum::Extension<Client>,
    JsonBody(PutPassword { password, current }): JsonBody<PutPassword>,
) -> Result<Json<UserView>, ApiError> {
    let accounts = &api.app.accounts;
    let account = who.account()?;
    let login = account.login.as_str();
    let has_password = accounts.user(login)?.password.is_some();
    let is_excused = match account.via {
        Via::AdminToken | Via::Session { means: SignInMeans::OneTimeLink, .. } => true,
        Via::Token(_) | Via::Password | Via::Session { .. } => !has_password,
    };
    if is_excused {
        access::need_proof(&api, &who.0)?;
    } else {
        let Some(current) = current else {
            let reason = "the present password is needed".to_owned();
            return Err(ApiError::Field { field: "current", reason });
        };
        accounts.check_password(login, &current, client.0).await?;
    }
    let keep = match account.via {
        Via::Session { digest, .. } => Some(digest),
        Via::AdminToken | Via::Token(_) | Via::Password => None,
    };
    let user = accounts.set_password(login, password.as_deref(), keep).await?;
    Ok(Json(UserView::from(&*user)))
}

// ---- tokens ----------------------------------------------------------------------------

/// Which tokens are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenParams {
    /// Those of this user, for admins; `*` for those of all. One's own when it is left out.
    user: Option<String>,
}

/// The tokens of a user, in the order in which they were made; also those that stopped
/// working in the last month.
#[utoipa::path(
    get, path = "/api/v1/tokens", operation_id = "listTokens", tag = "accounts",
    params(TokenParams),
    responses(
        (status = 200, description = "The tokens", body = TokenList),
        (status = 404, description = "There is no such user", body = ErrorBody),
    ),
)]
pub(super) async fn tokens(
    State(api): Shared,
    who: Who,
    Params(params): Params<TokenParams>,
) -> Result<Json<TokenList>, ApiError> {
    let accounts = &api.app.accounts;
    let of = match params.user.as_deref() {
        Some("*") if who.0.is_admin() => None,
        Some("*") => return Err(ApiError::Forbidden),
        other => Some(user_of(&api, &who, other)?.id),
    };
    let now = Timestamp::now();
    let tokens = accounts.tokens(of);
    let views = tokens.iter().filter_map(|token| {
        let user = accounts.user_by_id(token.user)?;
        Some(TokenView::new(token, &user, now))
    });
    Ok(Json(TokenList { tokens: views.collect() }))
}

/// The user that is named, for admins; else whoever asks.
fn user_of(api: &Api, who: &Who, named: Option<&str>) -> Result<Arc<User>, ApiError> {
    let own = &who.account()?.login;
    match named {
        Some(login) if login != own.as_str() => match who.0.is_admin() {
            true => Ok(api.app.accounts.user(login)?),
            // Whether there is such a user is not told.
            false => Err(ApiError::Forbidden),
        },
        _ => Ok(api.app.accounts.user(own.as_str())?),
    }
}

/// Makes a token. Its secret is shown this once.
#[utoipa::path(
    post, path = "/api/v1/tokens", operation_id = "createToken", tag = "accounts",
    request_body = CreateToken,
    responses(
        (status = 201, description = "The token", body = CreatedToken),
        (status = 403, description = "It would have scopes that whoever asks does not use", body = ErrorBody),
        (status = 404, description = "There is no such user", body = ErrorBody),
        (status = 422, description = "A field is wrong; the message names it", body = ErrorBody),
        (status = 429, description = "Too many failed sign-ins", body = ErrorBody),
    ),
)]
pub(super) async fn create_token(
    State(api): Shared,
    who: Who,
    note: Note,
    JsonBody(request): JsonBody<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    let user = user_of(&api, &who, request.user.as_deref())?;
    let own = who.account()?.scopes;
    let scopes = match request.scopes {
        Some(scopes) => Scopes::from(scopes),
        None => SCOPES_DEFAULT.into_iter().filter(|scope| own.contains(*scope)).collect(),
    };
    if let Some(missing) = scopes.list().into_iter().find(|scope| !own.contains(*scope)) {
        return Err(ApiError::NeedsScope(missing));
    }
    let spec = TokenSpec { label: request.label, scopes, expires_at: request.expires_at };
    let made = api.app.accounts.add_token(&user, spec).await?;
    let token = TokenView::new(&made.token, &user, Timestamp::now());
    note.object(token.id);
    note.add(format!("of {}", user.login));
    token.scopes.iter().for_each(|scope| note.add(scope));
    Ok((StatusCode::CREATED, Json(CreatedToken { secret: made.secret.expose().to_owned(), token })))
}

/// Revokes a token: it does not work any more, at once.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", operation_id = "revokeToken", tag = "accounts",
    params(("id" = String, Path, description = "The token's id")),
    responses(
        (status = 204, description = "It does not work any more"),
        (status = 404, description = "There is no such token", body = ErrorBody),
    ),
)]
pub(super) async fn revoke_token(
    State(api): Shared,
    who: Who,
    Segments(id): Segments<String>,
) -> Result<StatusCode, ApiError> {
    let accounts = &api.app.accounts;
    let (_, user) = accounts.token(&id)?;
    if user.id != who.account()?.user && !who.0.is_admin() {
        return Err(ApiError::Missing { what: format!("the token {id:.40?}") });
    }
    accounts.revoke_token(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

// ---- users -----------------------------------------------------------------------------

/// All users.
#[utoipa::path(
    get, path = "/api/v1/users", operation_id = "listUsers", tag = "accounts",
    responses((status = 200, description = "The users", body = UserList)),
)]
pub(super) async fn users(State(api): Shared) -> Json<UserList> {
    let users = api.app.accounts.users();
    Json(UserList { users: users.iter().map(|user| UserView::from(&**user)).collect() })
}

/// Creates a user.
#[utoipa::path(
    post, path = "/api/v1/users", operation_id = "createUser", tag = "accounts",
    request_body = CreateUser,
    responses(
        (status = 201, description = "The user", body = UserView),
        (status = 409, description = "The login is taken", body = ErrorBody),
        (status = 422, description = "A field is wrong; the message names it", body = ErrorBody),
    ),
)]
pub(super) async fn create_user(
    State(api): Shared,
    note: Note,
    JsonBody(request): JsonBody<CreateUser>,
) -> Result<(StatusCode, Json<UserView>), ApiError> {
    let CreateUser { login, name, role, password } = request;
    note.add(role);
    let user = api.app.accounts.add_user(NewUser { login, name, role, password }).await?;
    note.object(&user.login);
    Ok((StatusCode::CREATED, Json(UserView::from(&*user))))
}

/// A user.
#[utoipa::path(
    get, path = "/api/v1/users/{login}", operation_id = "showUser", tag = "accounts",
    params(("login" = String, Path, description = "The user's login")),
    responses(
        (status = 200, description = "The user", body = UserView),
        (status = 404, description = "There is no such user", body = ErrorBody),
    ),
)]
pub(super) async fn user(
    State(api): Shared,
    Segments(login): Segments<String>,
) -> Result<Json<UserView>, ApiError> {
    Ok(Json(UserView::from(&*api.app.accounts.user(&login)?)))
}

/// Changes a user: name, role, whether it is disabled, who at the sign-in provider it is.
#[utoipa::path(
    patch, path = "/api/v1/users/{login}", operation_id = "changeUser", tag = "accounts",
    params(("login" = String, Path, description = "The user's login")),
    request_body = PatchUser,
    responses(
        (status = 200, description = "The user as it is now", body = UserView),
        (status = 404, description = "There is no such user", body = ErrorBody),
        (status = 409, description = "It was changed at the same time", body = ErrorBody),
        (status = 422, description = "A field is wrong; the message names it", body = ErrorBody),
    ),
)]
pub(super) async fn change_user(
    State(api): Shared,
    note: Note,
    Segments(login): Segments<String>,
    JsonBody(PatchUser { name, role, disabled, identity }): JsonBody<PatchUser>,
) -> Result<Json<UserView>, ApiError> {
    if let Some(role) = role {
        note.add(role);
    }
    if let Some(disabled) = disabled {
        note.add(if disabled { "disabled" } else { "enabled" });
    }
    let identity = match identity {
        None => None,
        Some(None) => {
            note.add("unlinked");
            Some(None)
        }
        Some(Some(IdentitySpec { issuer, subject })) => {
            note.add("linked");
            let configured = || api.app.oidc.as_ref().map(|oidc| oidc.issuer().to_owned());
            let Some(issuer) = issuer.or_else(configured) else {
                let reason = "an issuer is needed: no sign-in provider is configured".to_owned();
                return Err(ApiError::Field { field: "identity", reason });
            };
            Some(Some(Identity { issuer, subject }))
        }
    };
    let user = api.app.accounts.change_user(&login, UserPatch { name, role, disabled, identity }).await?;
    Ok(Json(UserView::from(&*user)))
}

/// Gives a user a password, or takes it away. The user's sessions end.
#[utoipa::path(
    put, path = "/api/v1/users/{login}/password", operation_id = "setPassword", tag = "accounts",
    params(("login" = String, Path, description = "The user's login")),
    request_body = PutPassword,
    responses(
        (status = 200, description = "The user", body = UserView),
        (status = 404, description = "There is no such user", body = ErrorBody),
        (status = 422, description = "The password is too short or too long", body = ErrorBody),
    ),
)]
pub(super) async fn set_password(
    State(api): Shared,
    Segments(login): Segments<String>,
    JsonBody(PutPassword { password, .. }): JsonBody<PutPassword>,
) -> Result<Json<UserView>, ApiError> {
    let user = api.app.accounts.set_password(&login, password.as_deref(), None).await?;
    Ok(Json(UserView::from(&*user)))
}

/// Makes a link by which a user signs in once, and may set a password. One that was made
/// before stops working.
#[utoipa::path(
    post, path = "/api/v1/users/{login}/link", operation_id = "createSignInLink", tag = "accounts",
    params(("login" = String, Path, description = "The user's login")),
    responses(
        (status = 201, description = "The link", body = LinkView),
        (status = 404, description = "There is no such user", body = ErrorBody),
        (status = 409, description = "The user is disabled", body = ErrorBody),
    ),
)]
pub(super) async fn create_link(
    State(api): Shared,
    Segments(login): Segments<String>,
    OptionalJson(Nothing {}): OptionalJson<Nothing>,
) -> Result<(StatusCode, Json<LinkView>), ApiError> {
    let link = api.app.accounts.link(&login).await?;
    let url = format!("{}{}", api.app.urls.url, link.path());
    Ok((StatusCode::CREATED, Json(LinkView { url, expires_at: link.expires_at })))
}

/// A body that says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}
