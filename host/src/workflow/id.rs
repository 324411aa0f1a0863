//! Ids of 128 bits that sort by the time they were made.

/// Declares a 128-bit id, shown as 26 characters of `base32hex` in lower case, whose
/// order as text is its order as a number (RFC 4648 section 7).
macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, ToSchema)]
        #[serde(try_from = "String")]
        #[schema(value_type = String, pattern = "^[0-9a-v]{26}$")]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new id: milliseconds of the clock first (UUIDv7, RFC 9562), so that
            /// ids sort by the time they were made, within one process strictly.
            pub fn new() -> Self {
                Self(uuid::Uuid::now_v7().into_bytes())
            }

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, big-endian: their order is the order of the ids.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 26];
                data_encoding::BASE32_DNSSEC.encode_mut(&self.0, &mut text);
                f.pad(std::str::from_utf8(&text).expect("letters and digits"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::workflow::IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                data_encoding::BASE32_DNSSEC
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| $crate::workflow::IdError(text.chars().take(40).collect()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::workflow::IdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
    };
}
pub(crate) use id128;

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: an id has 26 characters, digits and letters a to v")]
pub struct IdError(pub String);
