//! Whom a workflow belongs to, as a key for shares and limits.

use std::fmt;
use std::sync::Arc;

/// The owner of workflows, for shares and limits of all that they run together.
///
/// Opaque: the login of an account, or the built-in admin, to whom a workflow belongs that
/// names no owner. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OwnerId(Option<Arc<str>>);

impl OwnerId {
    /// The built-in admin.
    pub const BUILT_IN: OwnerId = OwnerId(None);

    /// Whether it is the built-in admin.
    pub fn is_built_in(&self) -> bool {
        self.0.is_none()
    }
}

impl From<Option<&str>> for OwnerId {
    fn from(login: Option<&str>) -> Self {
        Self(login.map(Arc::from))
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("(built-in)"))
    }
}
