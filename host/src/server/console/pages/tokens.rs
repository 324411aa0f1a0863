//! A user's tokens, as the pages of the account and of the users show them.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::account::{Scope, Token};
use crate::server::console::{parts, text, when};

/// The tokens of the user `login`. The form that revokes one goes to the page `action`;
/// `none` is said where there are none.
pub(super) fn table(tokens: &[Token], action: &str, login: &str, none: &str) -> Markup {
    let now = Timestamp::now();
    if tokens.is_empty() {
        return parts::empty("No tokens", html! { p { (none) } });
    }
    html! {
        div.panel.scroll { table.rows.stack {
            thead { tr { th scope="col" { "For" } th scope="col" { "May" } th scope="col" { "Made" } th scope="col" { "Used last" } th scope="col" { "Ends" } th scope="col" { span.hidden { "Actions" } } } }
            tbody { @for token in tokens {
                @let words: Vec<_> = token.scopes.list().into_iter().map(Scope::word).collect();
                tr {
                    th scope="row" { @if token.label.is_empty() { span.soft { "unnamed" } } @else { (text::line(&token.label)) } }
                    td data-name="May" { (words.join(", ")) }
                    td data-name="Made" { (when::relative(token.created_at)) }
                    td data-name="Used last" { @match token.used_at { Some(at) => (when::relative(at)), None => span.soft { "never" } } }
                    td data-name="Ends" { @if !token.is_valid(now) { span.state.paused { "Ended" } } @else { @match token.expires_at { Some(at) => (when::relative(at)), None => span.soft { "never" } } } }
                    td.end { @if token.is_valid(now) { form method="post" action=(action) {
                        input type="hidden" name="token" value=(token.id);
                        input type="hidden" name="login" value=(login);
                        button.small type="submit" name="action" value="revoke" data-ask="Revoke this token? Programs that use it stop working at once." { "Revoke" }
                    } } }
                }
            } }
        } }
    }
}
