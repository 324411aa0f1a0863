//! The request and the reply of a run, as they are kept.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

/// A request as a guest and a record get it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Upper case.
    pub method: String,
    /// Path and, behind `?`, the query.
    pub path_with_query: String,
    /// Lower-case names, the caller's order, repeated names repeated.
    pub headers: Vec<(String, String)>,
    /// The body, perhaps cut.
    pub body: Body,
}

/// A response as it was sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyRecord {
    /// 200 to 599.
    pub status: u16,
    /// As sent, without those that the transport adds.
    pub headers: Vec<(String, String)>,
    /// The body, perhaps cut.
    pub body: Body,
}

// Headers and bodies hold secrets and personal data: they never reach a log line.
impl fmt::Debug for RequestRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestRecord")
            .field("method", &self.method)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReplyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyRecord")
            .field("status", &self.status)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A recorded body: `{"text"}` when it is UTF-8, else `{"base64"}`, with `"of"` giving
/// the full size in bytes when it was cut.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "BodyJson")]
pub struct Body {
    /// What was kept.
    pub bytes: Bytes,
    /// The size before the cut, in bytes; at least `bytes.len()`.
    pub full_bytes: u64,
}

impl Body {
    /// The whole of `bytes`, or its first `keep_bytes_max`.
    pub fn cut(bytes: Bytes, keep_bytes_max: usize) -> Self {
        let full_bytes = bytes.len() as u64;
        let kept = if bytes.len() > keep_bytes_max { bytes.slice(..keep_bytes_max) } else { bytes };
        Self { bytes: kept, full_bytes }
    }

    /// Whether something is missing.
    pub fn is_cut(&self) -> bool {
        self.full_bytes > self.bytes.len() as u64
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} of {} bytes)", self.bytes.len(), self.full_bytes)
    }
}

#[derive(Serialize, Deserialize)]
struct BodyJson<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
}

impl Serialize for Body {
    // By reference: every run's record has two, and none of them is copied for it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = self.is_cut().then_some(self.full_bytes);
        let json = match std::str::from_utf8(&self.bytes) {
            Ok(text) => BodyJson { text: Some(Cow::Borrowed(text)), base64: None, of },
            Err(_) => BodyJson { text: None, base64: Some(data_encoding::BASE64.encode(&self.bytes)), of },
        };
        json.serialize(serializer)
    }
}

impl TryFrom<BodyJson<'_>> for Body {
    type Error = String;

    fn try_from(json: BodyJson<'_>) -> Result<Self, String> {
        let bytes = match (json.text, json.base64) {
            (Some(text), None) => Bytes::from(text.into_owned()),
            (None, Some(base64)) => data_encoding::BASE64
                .decode(base64.as_bytes())
                .map_err(|error| format!("a recorded body is not base64: {error}"))?
                .into(),
            (None, None) => Bytes::new(),
            (Some(_), Some(_)) => return Err("a recorded body has both text and base64".to_owned()),
        };
        let full_bytes = json.of.unwrap_or(bytes.len() as u64).max(bytes.len() as u64);
        Ok(Self { bytes, full_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_survives_json_as_text_or_base64_and_says_what_was_cut() {
        for (bytes, keep, json) in [
            (Bytes::from_static(b"{\"a\": 1}"), 100, r#"{"text":"{\"a\": 1}"}"#),
            (Bytes::from_static(b"\xff\x00"), 100, r#"{"base64":"/wA="}"#),
            (Bytes::from_static(b"abcdef"), 2, r#"{"text":"ab","of":6}"#),
            (Bytes::new(), 0, r#"{"text":""}"#),
        ] {
            let body = Body::cut(bytes, keep);
            assert_eq!(serde_json::to_string(&body).unwrap(), json);
            assert_eq!(serde_json::from_str::<Body>(json).unwrap(), body);
        }
        assert!(serde_json::from_str::<Body>(r#"{"text":"a","base64":"YQ=="}"#).is_err());
    }
}
