//! A text that must not be seen by chance.

use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// A secret text: it has neither `Debug` nor `Display`, cannot be serialised, and its memory is
/// overwritten when it is dropped. Who needs it says so, with [`Secret::expose`].
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret in this text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<Box<RawValue>> for Secret {
    /// The JSON text of a value.
    fn from(value: Box<RawValue>) -> Self {
        Self::new(Box::<str>::from(value).into())
    }
}
