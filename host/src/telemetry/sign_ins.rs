//! The counter of sign-ins.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::add;

/// By what somebody signs in. With a token only where a session is begun by one: tokens that
/// come with a request begin none.
const MEANS: [&str; 4] = ["password", "link", "token", "oidc"];
/// What comes of it; [`crate::accounts::AccountError::sign_in_outcome`] and
/// [`crate::oidc::OidcError::sign_in_outcome`] say which.
const OUTCOMES: [&str; 5] = ["begun", "refused", "locked-out", "busy", "failed"];

/// Sign-ins, by means and by what came of them.
#[derive(Debug)]
pub struct SignInMetrics(Family<SignInLabels, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignInLabels {
    means: &'static str,
    outcome: &'static str,
}

impl SignInMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family: Family<SignInLabels, Counter> =
            add(registry, "sign_ins", "Sign-ins, by means and by what came of them");
        for means in MEANS {
            for outcome in OUTCOMES {
                family.get_or_create_owned(&SignInLabels { means, outcome });
            }
        }
        Self(family)
    }

    /// Counts one; both are words of this program.
    pub fn count(&self, means: &'static str, outcome: &'static str) {
        self.0.get_or_create(&SignInLabels { means, outcome }).inc();
    }
}
