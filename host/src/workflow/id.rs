//! Ids of 128 bits that sort by the time they were made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Fractions of a millisecond by which ids are told apart (RFC 9562 section 6.2, method 3).
const FRACTIONS: u64 = 1 << 12;

/// When the last id was made, in [`FRACTIONS`] of a millisecond.
static LAST: AtomicU64 = AtomicU64::new(0);

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
            /// A new id: the clock first (UUIDv7, RFC 9562), so that ids sort by the time
            /// they were made, within one process strictly. 62 bits are random.
            pub fn new() -> Self {
                Self($crate::workflow::ordered())
            }

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes, big-endian: their order is the order of the ids.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Calls `with` with the 26 letters and digits.
            pub fn with_text<T>(&self, with: impl FnOnce(&str) -> T) -> T {
                let mut text = [0; 26];
                data_encoding::BASE32_DNSSEC.encode_mut(&self.0, &mut text);
                with(std::str::from_utf8(&text).expect("letters and digits"))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.with_text(|text| f.pad(text))
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
                self.with_text(|text| serializer.serialize_str(text))
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

/// The bytes of a new id. Neither waits for a lock nor asks the system for randomness: each
/// request needs one.
pub(crate) fn ordered() -> [u8; 16] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = u64::from(now.subsec_nanos() % 1_000_000) * FRACTIONS / 1_000_000;
    let now = now.as_millis() as u64 * FRACTIONS + fraction;
    let after = |last: u64| now.max(last + 1);
    let own = match LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last))) {
        Ok(last) | Err(last) => after(last),
    };
    let mut random: [u8; 10] = rand::random();
    random[..2].copy_from_slice(&((own % FRACTIONS) as u16).to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(own / FRACTIONS, &random).into_uuid().into_bytes()
}

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an id: an id has 26 characters, digits and letters a to v, the last one 0, 4, 8, c, g, k, o or s"
)]
pub struct IdError(pub String);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn ids_are_of_version_7_and_of_now() {
        let id = uuid::Uuid::from_bytes(ordered());
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, _) = id.get_timestamp().unwrap().to_unix();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(seconds) <= 60, "{seconds} at {now}");
    }

    #[test]
    fn ids_sort_by_the_order_in_which_they_were_made() {
        let ids: Vec<_> = (0..20_000).map(|_| ordered()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn no_time_is_given_out_twice() {
        let make = || (0..5_000).map(|_| ordered()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(make)).collect();
        let ids: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let times: HashSet<_> = ids.iter().map(|id| <[u8; 8]>::try_from(&id[..8]).unwrap()).collect();
        assert_eq!(times.len(), ids.len());
    }
}
