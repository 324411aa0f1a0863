//! Sealed settings on their way out and back: the guest has a placeholder, the request to a host
//! that the setting is sealed to has the value, and no response has it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, Uri};

use super::error::{Code, Detail, Failure};
use super::sealed_multipart::{self, Lines};
use super::target::Target;
use crate::run::SealedUse;
use crate::workflow::{Mask, Place, Seal, Secret, Settings, Visibility};

/// What a placeholder begins with. Nothing in one is ever quoted or escaped, wherever it stands.
const PREFIX: &str = "sealed_";

/// Headers that never get a value: they are about the message, or go to whoever is next.
const NEVER: [HeaderName; 5] =
    [header::HOST, header::REFERER, header::ORIGIN, header::PROXY_AUTHORIZATION, header::CONTENT_LENGTH];

/// The sealed settings of one run.
pub struct SealedSettings {
    entries: Vec<Entry>,
    /// Finds the values; its names are those of `entries`, in the same order.
    mask: Option<Arc<Mask>>,
}

struct Entry {
    name: String,
    placeholder: String,
    value: Secret,
    seal: Option<Seal>,
}

/// What a request's body is, as far as values may stand in it.
pub(super) enum BodyForm {
    Json,
    Form,
    /// With this boundary.
    Multipart(String),
    Other,
}

/// What became of the placeholders in one request.
pub(super) struct PutIn<'a> {
    sealed: &'a SealedSettings,
    /// Whether an entry is sealed to the request's host.
    bound: Vec<Result<(), &'static str>>,
    uses: BTreeMap<usize, SealedUse>,
}

impl SealedSettings {
    /// The sealed ones among a run's settings, with their placeholders; `None` when there are
    /// none. `chance` gives the 128 bits of a placeholder, of this run alone: one that got out
    /// is worth nothing, and nobody can have another run put the value in.
    pub fn of(settings: &Settings, chance: impl Fn(&str) -> [u8; 16]) -> Option<Arc<Self>> {
        let sealed = settings.entries.iter().filter(|(_, setting)| setting.visibility == Visibility::Sealed);
        let entries = sealed.map(|(name, setting)| Entry {
            name: name.clone(),
            placeholder: format!("{PREFIX}{}", data_encoding::HEXLOWER.encode(&chance(name))),
            // It was a text when it was sealed.
            value: Secret::new(serde_json::from_str(setting.value.expose()).unwrap_or_default()),
            seal: setting.seal.clone(),
        });
        let entries: Vec<Entry> = entries.collect();
        (!entries.is_empty()).then(|| Arc::new(Self { entries, mask: settings.sealed_mask() }))
    }

    /// What the guest has instead of a setting's value.
    pub fn placeholder(&self, name: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.name == name);
        entry.map(|entry| entry.placeholder.as_str())
    }

    /// The setting whose placeholder stands in a text.
    pub fn held_in(&self, text: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| text.contains(&entry.placeholder));
        entry.map(|entry| entry.name.as_str())
    }

    /// Begins with a request to this target.
    pub(super) fn to(&self, target: &Target) -> PutIn<'_> {
        let host = target.host.to_string();
        let bound = self.entries.iter().map(|entry| {
            let Some(seal) = &entry.seal else { return Err("it is sealed to no host") };
            let is_host = |tls| seal.hosts.iter().any(|own| own.is(&host, target.port, tls));
            match target.is_tls || seal.allow_http {
                true if is_host(target.is_tls) => Ok(()),
                false if is_host(false) || is_host(true) => Err("it is not sent without TLS"),
                _ => Err("it is not sealed to this host"),
            }
        });
        PutIn { sealed: self, bound: bound.collect(), uses: BTreeMap::new() }
    }

    /// Takes the values out of a response's head.
    pub(super) fn clean_headers(&self, headers: &mut HeaderMap) {
        let Some(mask) = &self.mask else { return };
        for value in headers.values_mut() {
            let Some(clean) = self.clean(mask, value.as_bytes()) else { continue };
            *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static("-"));
        }
        // A name is in lower case, whatever the server sent.
        let values: Vec<String> =
            self.entries.iter().map(|entry| entry.value.expose().to_ascii_lowercase()).collect();
        let holds = |name: &HeaderName| values.iter().any(|value| name.as_str().contains(value));
        let names: Vec<HeaderName> = headers.keys().filter(|name| holds(name)).cloned().collect();
        names.iter().for_each(|name| drop(headers.remove(name)));
    }

    /// What finds the values in a body.
    pub(super) fn mask(&self) -> Option<&Arc<Mask>> {
        self.mask.as_ref()
    }

    /// The placeholder of the setting with this number in the mask.
    pub(super) fn placeholder_at(&self, index: usize) -> &str {
        self.entries.get(index).map_or("", |entry| entry.placeholder.as_str())
    }

    /// The bytes with placeholders in place of values; `None` when there are none.
    fn clean(&self, mask: &Mask, bytes: &[u8]) -> Option<Vec<u8>> {
        let found = mask.find(bytes);
        if found.is_empty() {
            return None;
        }
        let (mut clean, mut at) = (Vec::with_capacity(bytes.len()), 0);
        for one in found {
            clean.extend_from_slice(&bytes[at..one.range.start]);
            clean.extend_from_slice(self.placeholder_at(one.name).as_bytes());
            at = one.range.end;
        }
        clean.extend_from_slice(&bytes[at..]);
        Some(clean)
    }
}

impl PutIn<'_> {
    /// Whether the host gets some value, so that its responses have to be readable.
    pub(super) fn is_bound(&self) -> bool {
        self.bound.iter().any(Result::is_ok)
    }

    /// Puts values into the URL's query.
    ///
    /// # Errors
    /// The URL is none any more.
    pub(super) fn uri(&mut self, uri: &mut Uri) -> Result<(), Failure> {
        if !uri.path_and_query().is_some_and(|text| text.as_str().contains(PREFIX)) {
            return Ok(());
        }
        let mut text = self.path(uri.path()).into_owned();
        if let Some(query) = uri.query() {
            let parts = query.split('&').map(|part| {
                let (name, value) =
                    part.split_once('=').map_or((part, None), |(name, rest)| (name, Some(rest)));
                self.leave(name, "in a query it can stand behind a name and an equals sign");
                match value {
                    Some(value) => format!("{name}={}", self.fill(value, Place::Query, in_query)),
                    None => name.to_owned(),
                }
            });
            let query = parts.collect::<Vec<_>>().join("&");
            text = format!("{text}?{query}");
        }
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(text.parse().map_err(|_| Failure::from(Code::HttpRequestUriInvalid))?);
        *uri = Uri::from_parts(parts).map_err(|_| Failure::from(Code::HttpRequestUriInvalid))?;
        Ok(())
    }

    /// A value becomes a part of one segment, whatever stands in it.
    fn path<'a>(&mut self, path: &'a str) -> Cow<'a, str> {
        self.fill(path, Place::Path, in_query)
    }

    /// Puts values into headers, and asks a host that gets one for what can be looked through.
    pub(super) fn headers(&mut self, headers: &mut HeaderMap) {
        for (name, value) in headers.iter_mut() {
            let Ok(text) = value.to_str() else { continue };
            let filled = match text.split_once(' ') {
                Some((scheme, credentials))
                    if name == header::AUTHORIZATION && scheme.eq_ignore_ascii_case("basic") =>
                {
                    self.basic(credentials).map(|filled| format!("{scheme} {filled}"))
                }
                _ if !text.contains(PREFIX) => None,
                _ if NEVER.contains(name) => {
                    self.leave(text, "it cannot stand in this header");
                    None
                }
                Some((scheme, _))
                    if name == header::AUTHORIZATION && scheme.eq_ignore_ascii_case("bearer") =>
                {
                    Some(self.fill_at(text, &[Place::Bearer, Place::Header], as_is).into_owned())
                }
                _ => Some(self.fill(text, Place::Header, as_is).into_owned()),
            };
            // What is no header's value stays a placeholder: nothing can be smuggled in.
            if let Some(filled) = filled.and_then(|filled| HeaderValue::from_bytes(filled.as_bytes()).ok()) {
                *value = filled;
                value.set_sensitive(true);
            }
        }
        if self.is_bound() {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            // Pieces of the guest's choice could each be too small for the value.
            headers.remove(header::RANGE);
            headers.remove(header::IF_RANGE);
        }
    }

    fn basic(&mut self, credentials: &str) -> Option<String> {
        let decoded = data_encoding::BASE64.decode(credentials.trim().as_bytes()).ok()?;
        let text = String::from_utf8(decoded).ok().filter(|text| text.contains(PREFIX))?;
        let filled = self.fill(&text, Place::Basic, as_is);
        Some(data_encoding::BASE64.encode(filled.as_bytes()))
    }

    /// Puts values into a whole body; `None` when nothing changes.
    pub(super) fn body(&mut self, form: &BodyForm, body: &[u8]) -> Option<Vec<u8>> {
        memchr::memmem::find(body, PREFIX.as_bytes())?;
        let text = match form {
            BodyForm::Multipart(boundary) => return self.multipart(boundary, body),
            BodyForm::Json | BodyForm::Form => std::str::from_utf8(body).ok(),
            BodyForm::Other => None,
        };
        let Some(text) = text else {
            let reason = "JSON, form and multipart bodies can hold it, this is none of them";
            self.leave(body, reason);
            return None;
        };
        let filled = match form {
            BodyForm::Json => self.fill(text, Place::Json, in_json),
            _ => self.fill(text, Place::Form, in_form),
        };
        (filled != text).then(|| filled.into_owned().into_bytes())
    }

    fn multipart(&mut self, boundary: &str, body: &[u8]) -> Option<Vec<u8>> {
        let sealed = self.sealed;
        let lines = Lines::of(body, boundary);
        let mut filled = Cow::Borrowed(body);
        let held = |entry: &Entry| memchr::memmem::find(body, entry.placeholder.as_bytes()).is_some();
        for (index, entry) in sealed.entries.iter().enumerate().filter(|(_, entry)| held(entry)) {
            let value = entry.value.expose();
            let reason = self.refusal(index, &[Place::Multipart]).or_else(|| {
                let reason = "a multipart body gets values of one line that begin with no dash";
                (!sealed_multipart::fits(value)).then_some(Cow::Borrowed(reason))
            });
            if reason.is_some() {
                self.note(index, reason);
                continue;
            }
            // Filled one after the other: the lines are those of what is filled by now.
            let now =
                if matches!(filled, Cow::Borrowed(_)) { None } else { Some(Lines::of(&filled, boundary)) };
            let (bytes, is_elsewhere) =
                now.as_ref().unwrap_or(&lines).fill(&filled, &entry.placeholder, value);
            let reason = "in a multipart body it can stand in what a part holds, on a line of text";
            self.note(index, is_elsewhere.then_some(Cow::Borrowed(reason)));
            filled = Cow::Owned(bytes);
        }
        (*filled != *body).then(|| filled.into_owned())
    }

    /// Notes what stands in a body that is too large to be looked through.
    pub(super) fn too_large(&mut self, beginning: &[u8]) {
        self.leave(beginning, "bodies of more than 1 MiB are not looked through, a header can hold it");
    }

    /// What became of the placeholders.
    pub(super) fn into_uses(self) -> Vec<SealedUse> {
        self.uses.into_values().collect()
    }

    fn fill<'a>(&mut self, text: &'a str, place: Place, form: impl Fn(&str) -> Cow<'_, str>) -> Cow<'a, str> {
        self.fill_at(text, &[place], form)
    }

    fn fill_at<'a>(
        &mut self,
        text: &'a str,
        places: &[Place],
        form: impl Fn(&str) -> Cow<'_, str>,
    ) -> Cow<'a, str> {
        let mut filled = Cow::Borrowed(text);
        for (index, entry) in self.sealed.entries.iter().enumerate() {
            if !text.contains(&entry.placeholder) {
                continue;
            }
            let mut reason = self.refusal(index, places);
            let value = entry.value.expose();
            if places == [Place::Path] && value.bytes().all(|byte| byte == b'.') {
                reason = reason.or(Some(Cow::Borrowed("a path gets no value of nothing but dots")));
            }
            if reason.is_none() {
                filled = Cow::Owned(filled.replace(&entry.placeholder, &form(value)));
            }
            self.note(index, reason);
        }
        filled
    }

    /// Why a value may not be put in at any of these places; `None` when it may.
    fn refusal(&self, index: usize, places: &[Place]) -> Option<Cow<'static, str>> {
        if let Err(reason) = self.bound[index] {
            return Some(reason.into());
        }
        let own = self.sealed.entries[index].seal.as_ref().map_or(&[][..], |seal| &seal.places);
        if own.iter().any(|place| places.contains(place)) {
            return None;
        }
        let words = |places: &[Place]| places.iter().map(|place| place.word()).collect::<Vec<_>>().join(", ");
        Some(format!("it is sealed to the places {}, this one is {}", words(own), words(places)).into())
    }

    /// Notes placeholders that stay what they are.
    fn leave(&mut self, bytes: impl AsRef<[u8]>, reason: &'static str) {
        for (index, entry) in self.sealed.entries.iter().enumerate() {
            if memchr::memmem::find(bytes.as_ref(), entry.placeholder.as_bytes()).is_some() {
                self.note(index, Some(self.bound[index].err().unwrap_or(reason).into()));
            }
        }
    }

    /// A refusal is what is worth knowing, if there are both.
    fn note(&mut self, index: usize, reason: Option<Cow<'static, str>>) {
        let name = &self.sealed.entries[index].name;
        let used = SealedUse { name: name.clone(), refused: reason.map(Cow::into_owned) };
        let noted = self.uses.entry(index).or_insert_with(|| used.clone());
        if noted.refused.is_none() {
            *noted = used;
        }
    }
}

/// Refuses what cannot be looked through: a value in it would come back.
pub(super) fn check_readable<B>(response: &Response<B>) -> Result<(), Failure> {
    let encodings = response.headers().get_all(header::CONTENT_ENCODING);
    let is_plain = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if encodings.iter().all(is_plain) {
        return Ok(());
    }
    let detail = Detail::Because("a host that gets a sealed setting must answer without a content-encoding");
    Err(Failure { code: Code::HttpProtocolError, detail })
}

/// In headers nothing is escaped.
fn as_is(value: &str) -> Cow<'_, str> {
    Cow::Borrowed(value)
}

fn in_json(value: &str) -> Cow<'_, str> {
    let quoted = serde_json::to_string(value).unwrap_or_default();
    Cow::Owned(
        quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned(),
    )
}

fn in_form(value: &str) -> Cow<'_, str> {
    Cow::Owned(form_urlencoded::byte_serialize(value.as_bytes()).collect())
}

/// A space is `%20` here, which is one for every server.
fn in_query(value: &str) -> Cow<'_, str> {
    Cow::Owned(in_form(value).replace('+', "%20"))
}
