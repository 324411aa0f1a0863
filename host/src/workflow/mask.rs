//! Finding secrets in what is about to be written, in all the forms in which they get there.
//!
//! A seat belt, not a wall: code that wants to can always write a secret in a form of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Setting, SettingWriter, Visibility};

/// Shorter values are not looked for: they are in too many texts by chance.
const VALUE_BYTES_MIN: usize = 8;
/// Longer values are looked for in pieces of this size. A multiple of 3, for base64.
const PIECE_BYTES: usize = 192;
/// Bytes of values that are looked for in every form; of further ones, only as they are.
const FORMS_BYTES_MAX: usize = 16 << 10;
/// Bytes of values that are looked for at all.
const VALUES_BYTES_MAX: usize = 256 << 10;

/// Finds the values of some settings.
pub struct Mask {
    automaton: AhoCorasick,
    patterns: Vec<Zeroizing<Vec<u8>>>,
    /// The setting of each pattern, by its place in `names`.
    owners: Vec<usize>,
    names: Vec<String>,
    longest: usize,
}

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub range: Range<usize>,
    /// The place of its setting among [`Mask::names`].
    pub name: usize,
}

impl Mask {
    /// What finds the secret and sealed ones among these settings; `None` when there is
    /// nothing to find.
    pub fn of(settings: &BTreeMap<String, Setting>) -> Option<Self> {
        let secret = settings.iter().filter(|(_, setting)| is_looked_for(setting));
        Self::for_texts(secret.map(|(name, setting)| (name.as_str(), texts(setting))))
    }

    /// What finds the sealed ones.
    pub fn of_sealed(settings: &BTreeMap<String, Setting>) -> Option<Self> {
        let sealed = settings.iter().filter(|(_, setting)| setting.visibility == Visibility::Sealed);
        Self::for_texts(sealed.map(|(name, setting)| (name.as_str(), texts(setting))))
    }

    /// Whether it would look for this setting's value.
    pub fn finds(setting: &Setting) -> bool {
        is_looked_for(setting)
    }

    fn for_texts<'a>(settings: impl Iterator<Item = (&'a str, Vec<Zeroizing<String>>)>) -> Option<Self> {
        let (mut names, mut owners, mut patterns) = (Vec::new(), Vec::new(), Vec::new());
        let mut bytes = 0;
        for (name, texts) in settings {
            for text in texts {
                bytes += text.len();
                if bytes > VALUES_BYTES_MAX {
                    break;
                }
                for piece in pieces(text.as_bytes()) {
                    let forms = if bytes > FORMS_BYTES_MAX { vec![piece.to_vec()] } else { forms(piece) };
                    for form in forms {
                        owners.push(names.len());
                        patterns.push(Zeroizing::new(form));
                    }
                }
            }
            names.push(name.to_owned());
        }
        if patterns.is_empty() {
            return None;
        }
        let longest = patterns.iter().map(|pattern| pattern.len()).max().unwrap_or_default();
        let built = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(patterns.iter().map(|pattern| pattern.as_slice()));
        let automaton = built.expect("there are far fewer than 2^31 states: the values have a bound");
        Some(Self { automaton, patterns, owners, names, longest })
    }

    /// The names of the settings, in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Bytes of the longest form.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The secrets in `bytes`, in their order. What overlaps or touches is one.
    pub fn find(&self, bytes: &[u8]) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        if !self.automaton.is_match(bytes) {
            return found;
        }
        // They come in the order of their ends.
        for hit in self.automaton.find_overlapping_iter(bytes) {
            let (mut range, mut name) = (hit.range(), self.owners[hit.pattern().as_usize()]);
            while let Some(last) = found.pop_if(|last| last.range.end >= range.start) {
                if last.range.start <= range.start {
                    name = last.name;
                }
                range = last.range.start.min(range.start)..last.range.end.max(range.end);
            }
            found.push(Found { range, name });
        }
        found
    }

    /// What is left at the end or the beginning of a text that was cut within a secret.
    fn remains(&self, bytes: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        for (pattern, name) in self.patterns.iter().zip(&self.owners) {
            let longest = pattern.len().min(bytes.len());
            let begun = (VALUE_BYTES_MIN..=longest).rev().find(|size| bytes.ends_with(&pattern[..*size]));
            if let Some(size) = begun {
                found.push(Found { range: bytes.len() - size..bytes.len(), name: *name });
            }
            let ended = (VALUE_BYTES_MIN..=longest)
                .rev()
                .find(|size| bytes.starts_with(&pattern[pattern.len() - size..]));
            if let Some(size) = ended {
                found.push(Found { range: 0..size, name: *name });
            }
        }
        found
    }

    /// The bytes with `[masked NAME]` in place of secrets; `None` when there are none.
    /// `is_cut` says that something before or behind them is missing.
    pub fn masked(&self, bytes: &[u8], is_cut: bool) -> Option<Vec<u8>> {
        let mut found = self.find(bytes);
        if is_cut {
            found.extend(self.remains(bytes));
            found.sort_by_key(|one| (one.range.start, one.range.end));
        }
        if found.is_empty() {
            return None;
        }
        let (mut masked, mut at) = (Vec::with_capacity(bytes.len()), 0);
        for Found { range, name } in found {
            if range.end <= at {
                continue;
            }
            // In the middle of what was masked already only the rest is taken out.
            if range.start >= at {
                masked.extend_from_slice(&bytes[at..range.start]);
                masked.extend_from_slice(self.marker(name).as_bytes());
            }
            at = range.end;
        }
        masked.extend_from_slice(&bytes[at..]);
        Some(masked)
    }

    /// What stands in place of a secret: nothing in it needs quoting, wherever it is put.
    pub fn marker(&self, name: usize) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name = self.names.get(name).map_or("", String::as_str);
        let name: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        format!("[masked {name}]")
    }

    /// The text with secrets masked; `None` when there are none.
    pub fn text(&self, text: &str, is_cut: bool) -> Option<String> {
        let masked = self.masked(text.as_bytes(), is_cut)?;
        // A form can begin within a character only where the value does.
        Some(String::from_utf8_lossy(&masked).into_owned())
    }
}

/// Whether a value is to be masked: those of secret settings, except what the workflow itself
/// keeps there to know how far it came.
fn is_looked_for(setting: &Setting) -> bool {
    match (setting.visibility, &setting.updated_by) {
        (Visibility::Plain, _) => false,
        (Visibility::Sealed, _) | (Visibility::Secret, SettingWriter::User(_)) => true,
        (Visibility::Secret, SettingWriter::Run(_)) => !is_cursor(setting.value.expose()),
    }
}

/// A number, or a moment: no secret that code would come by.
fn is_cursor(json: &str) -> bool {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => {
            text.bytes().all(|byte| byte.is_ascii_digit())
                || text.parse::<Timestamp>().is_ok()
                || text.parse::<DateTime>().is_ok()
                || text.parse::<Date>().is_ok()
        }
        Ok(Value::Number(_) | Value::Bool(_) | Value::Null) => true,
        Ok(Value::Array(_) | Value::Object(_)) | Err(_) => false,
    }
}

/// The texts in a value: itself, or those in its lists and objects; and the lines of each,
/// because a log is one of lines.
fn texts(setting: &Setting) -> Vec<Zeroizing<String>> {
    fn collect(value: Value, texts: &mut Vec<Zeroizing<String>>) {
        match value {
            Value::String(text) => texts.push(Zeroizing::new(text)),
            Value::Number(number) => texts.push(Zeroizing::new(number.to_string())),
            Value::Array(list) => list.into_iter().for_each(|value| collect(value, texts)),
            Value::Object(map) => map.into_iter().for_each(|(_, value)| collect(value, texts)),
            Value::Bool(_) | Value::Null => {}
        }
    }
    let mut texts = Vec::new();
    if let Ok(value) = serde_json::from_str(setting.value.expose()) {
        collect(value, &mut texts);
    }
    let lines: Vec<_> = texts
        .iter()
        .filter(|text| text.contains('\n'))
        .flat_map(|text| text.lines().map(|line| Zeroizing::new(line.trim().to_owned())))
        .collect();
    texts.extend(lines);
    texts.retain(|text| text.len() >= VALUE_BYTES_MIN);
    texts
}

/// The value, or the pieces of a long one; the last piece overlaps the one before, so that it
/// is not too short.
fn pieces(value: &[u8]) -> Vec<&[u8]> {
    if value.len() <= PIECE_BYTES {
        return vec![value];
    }
    let mut pieces: Vec<&[u8]> = value.chunks_exact(PIECE_BYTES).collect();
    pieces.push(&value[value.len() - PIECE_BYTES..]);
    pieces
}

/// The forms in which a value gets into texts.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec(), value.iter().rev().copied().collect()];
    if let Ok(text) = std::str::from_utf8(value) {
        if let Ok(quoted) = serde_json::to_string(text) {
            forms.push(quoted.as_bytes()[1..quoted.len() - 1].to_vec());
            forms.push(ascii_json(&quoted[1..quoted.len() - 1]).into_bytes());
        }
        forms.push(text.chars().rev().collect::<String>().into_bytes());
    }
    forms.push(HEXLOWER.encode(value).into_bytes());
    forms.push(HEXUPPER.encode(value).into_bytes());
    for (kept, space, is_upper) in [
        (&b"-_.~"[..], "%20", true),
        (b"-_.~", "%20", false),
        (b"-_.~/", "%20", true),
        (b"*-._", "+", true),
        (b"-_.~!'()*", "%20", true),
    ] {
        forms.push(url_form(value, kept, space, is_upper));
    }
    for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
        for (before, lost) in [(0, 0), (1, 2), (2, 3)] {
            let shifted = [vec![0; before], value.to_vec()].concat();
            // Digits that neighbours take part in are left out.
            let whole = shifted.len() * 8 / 6;
            forms.push(encoding.encode(&shifted).as_bytes()[lost..whole].to_vec());
        }
    }
    forms.sort_unstable();
    forms.dedup();
    forms.retain(|form| form.len() >= VALUE_BYTES_MIN);
    forms
}

/// JSON's text with everything beyond ASCII escaped, as Python's `json.dumps` does.
fn ascii_json(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

fn url_form(value: &[u8], kept: &[u8], space: &str, is_upper: bool) -> Vec<u8> {
    let mut form = Vec::new();
    for byte in value {
        match byte {
            byte if byte.is_ascii_alphanumeric() || kept.contains(byte) => form.push(*byte),
            b' ' => form.extend_from_slice(space.as_bytes()),
            byte if is_upper => form.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            byte => form.extend_from_slice(format!("%{byte:02x}").as_bytes()),
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunId;
    use crate::workflow::Secret;

    fn setting(value: &Value, visibility: Visibility, updated_by: SettingWriter) -> Setting {
        let (fingerprint, updated_at) = (String::new(), Timestamp::UNIX_EPOCH);
        Setting {
            value: Secret::new(value.to_string()),
            visibility,
            seal: None,
            fingerprint,
            updated_at,
            updated_by,
        }
    }

    fn settings(list: &[(&str, Value)]) -> BTreeMap<String, Setting> {
        let secret = |value| setting(value, Visibility::Secret, SettingWriter::User(None));
        list.iter().map(|(name, value)| ((*name).to_owned(), secret(value))).collect()
    }

    fn mask(list: &[(&str, Value)]) -> Mask {
        Mask::of(&settings(list)).unwrap()
    }

    #[test]
    fn a_secret_is_masked_in_every_form_and_nothing_of_it_is_left() {
        let value = "s3cr&t/Wört \"7>?~~";
        let mask = mask(&[("API_KEY", value.into())]);
        let bytes = value.as_bytes();
        let mut forms = vec![
            value.to_owned(),
            serde_json::to_string(value).unwrap(),
            ascii_json(&serde_json::to_string(value).unwrap()),
            HEXLOWER.encode(bytes),
            HEXUPPER.encode(bytes),
            value.chars().rev().collect(),
            form_urlencoded::byte_serialize(bytes).collect(),
            String::from_utf8(url_form(bytes, b"-_.~/", "%20", true)).unwrap(),
            String::from_utf8(url_form(bytes, b"-_.~", "%20", false)).unwrap(),
        ];
        for before in ["", "u", "us", "user:", "user"] {
            for behind in ["", "!", "!!"] {
                let text = format!("{before}{value}{behind}");
                forms.push(data_encoding::BASE64.encode(text.as_bytes()));
                forms.push(BASE64URL_NOPAD.encode(text.as_bytes()));
            }
        }
        for form in forms {
            let masked =
                mask.text(&format!("before {form} behind"), false).unwrap_or_else(|| panic!("{form}"));
            assert!(masked.contains("[masked API_KEY]"), "{masked}");
            assert!(masked.starts_with("before ") && masked.ends_with(" behind"), "{masked}");
            assert!(masked.len() < "before [masked API_KEY] behind".len() + 24, "{form}: {masked}");
        }
        assert_eq!(mask.text("nothing of it", false), None);
    }

    #[test]
    fn what_is_cut_within_a_secret_is_masked_too() {
        let mask = mask(&[("K", "0123456789abcdef".into())]);
        assert_eq!(mask.text("x 0123456789", true).unwrap(), "x [masked K]");
        assert_eq!(mask.text("89abcdef y", true).unwrap(), "[masked K] y");
        assert_eq!(mask.text("x 0123456789", false), None);
        assert_eq!(mask.text("x 0123456", true), None, "less than 8 bytes");
    }

    #[test]
    fn overlapping_secrets_leave_nothing() {
        let mask = mask(&[("A", "abcdefgh12".into()), ("B", "gh12345678".into())]);
        assert_eq!(mask.text("-abcdefgh12345678-", false).unwrap(), "-[masked A]-");
        assert_eq!(mask.text("abcdefgh12 gh12345678", false).unwrap(), "[masked A] [masked B]");
    }

    #[test]
    fn long_values_lines_and_lists_are_found() {
        let long: String = (0..300).map(|n| format!("{n:04}")).collect();
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n";
        let list = serde_json::json!({"user": "x", "passwords": ["first-password", "second-password"]});
        let mask = mask(&[("LONG", long.clone().into()), ("PEM", key.into()), ("LIST", list)]);
        assert_eq!(mask.text(&format!("<{long}>"), false).unwrap(), "<[masked LONG]>");
        assert_eq!(mask.text(&format!("<{key}>"), false).unwrap(), "<[masked PEM]>");
        assert_eq!(mask.text("MIIEvQIBADANBgkqhkiG9w0B", false).unwrap(), "[masked PEM]");
        assert_eq!(mask.text("second-password", false).unwrap(), "[masked LIST]");
    }

    #[test]
    fn short_and_plain_values_and_cursors_are_no_secrets() {
        let run = || SettingWriter::Run(RunId::new());
        let mut entries = BTreeMap::new();
        let mut add = |name: &str, setting| entries.insert(name.to_owned(), setting);
        add("PLAIN", setting(&"plain-enough".into(), Visibility::Plain, SettingWriter::User(None)));
        add("SHORT", setting(&"7 bytes".into(), Visibility::Secret, SettingWriter::User(None)));
        for (name, value) in [
            ("A", "2026-11-22T12:00:00Z".into()),
            ("B", "1234567890".into()),
            ("C", 12_345_678.into()),
            ("D", "2026-11-22".into()),
        ] {
            add(name, setting(&value, Visibility::Secret, run()));
        }
        assert!(Mask::of(&entries).is_none());
        entries.insert("TOKEN".to_owned(), setting(&"fresh-token-1".into(), Visibility::Secret, run()));
        entries.insert(
            "PIN".to_owned(),
            setting(&"1234567890".into(), Visibility::Secret, SettingWriter::User(None)),
        );
        let mask = Mask::of(&entries).unwrap();
        assert_eq!(mask.names(), ["PIN", "SHORT", "TOKEN"]);
        assert!(mask.text("1234567890", false).is_some() && mask.text("7 bytes", false).is_none());
        assert!(Mask::of_sealed(&entries).is_none());
    }
}
