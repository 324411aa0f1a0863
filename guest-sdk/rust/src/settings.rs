//! The workflow's environment properties: what it is configured with, and what it
//! remembers from run to run.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::tidegate::workflow::types::{Change, Setting};

/// The workflow's settings: names and JSON values.
///
/// They are the workflow's memory, too: what is [`set`](Self::set) here is there at the
/// next run. The host saves the changes when the run succeeds, all of them or none, and
/// only the names that changed: another run that changes other names at the same time
/// keeps its own. A run that fails saves nothing but what [`save`](Self::save) saved.
///
/// `Debug` shows the names only: values are secrets.
#[derive(Clone, Default)]
pub struct Settings(BTreeMap<String, Entry>);

/// JSON texts; none where there is no such setting.
#[derive(Clone, Default)]
struct Entry {
    saved: Option<String>,
    current: Option<String>,
}

/// Why a setting could not be read or set.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// A setting that the workflow needs is not there.
    #[error("the setting {0} is missing")]
    Missing(String),
    /// Its value does not have the form that was asked for.
    #[error("the setting {name} does not have the expected form")]
    Read {
        /// The setting's name.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// JSON cannot hold the new value.
    #[error("the value for the setting {name} is not JSON")]
    Write {
        /// The setting's name.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Why an early save was refused. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A value is not JSON, or a name or a value is over its limit.
    #[error("the host did not accept the settings: {0}")]
    Invalid(String),
    /// This run may not write settings, or has saved too often.
    #[error("the host did not let this run save settings: {0}")]
    Refused(String),
    /// The host could not store them.
    #[error("the host could not store the settings: {0}")]
    Unavailable(String),
}

impl Settings {
    /// The value of a setting. None if there is no such setting.
    ///
    /// ```
    /// # use tidegate_guest::{Settings, serde_json::json};
    /// let settings = Settings::from_iter([("PAGE_SIZE", json!(50))]);
    /// assert_eq!(settings.get::<u32>("PAGE_SIZE")?, Some(50));
    /// assert_eq!(settings.get::<String>("CURSOR")?, None);
    /// # Ok::<_, tidegate_guest::SettingError>(())
    /// ```
    ///
    /// # Errors
    /// [`SettingError::Read`] if its value does not have the form of `T`. Values typed
    /// in the console are strings.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SettingError> {
        let Some(json) = self.get_json(name) else { return Ok(None) };
        match serde_json::from_str(json) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(SettingError::Read { name: name.to_owned(), source }),
        }
    }

    /// The value of a setting without which the workflow cannot go on.
    ///
    /// # Errors
    /// [`SettingError::Missing`] if there is no such setting, and those of
    /// [`get`](Self::get).
    pub fn require<T: DeserializeOwned>(&self, name: &str) -> Result<T, SettingError> {
        self.get(name)?.ok_or_else(|| SettingError::Missing(name.to_owned()))
    }

    /// The value of a setting as JSON text, exactly as the host keeps it.
    pub fn get_json(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.current.as_deref()
    }

    /// Sets a value, to be saved when the run succeeds.
    ///
    /// # Errors
    /// [`SettingError::Write`] if JSON cannot hold it; the old value stays.
    pub fn set(&mut self, name: impl Into<String>, value: impl Serialize) -> Result<(), SettingError> {
        let name = name.into();
        match serde_json::to_string(&value) {
            Ok(json) => self.set_json(name, json),
            Err(source) => return Err(SettingError::Write { name, source }),
        }
        Ok(())
    }

    /// Sets a value that is JSON text already, to be saved when the run succeeds. The
    /// host refuses text that is not JSON, and with it the run.
    pub fn set_json(&mut self, name: impl Into<String>, json: impl Into<String>) {
        self.0.entry(name.into()).or_default().current = Some(json.into());
    }

    /// Deletes a setting, for good when the run succeeds. Says whether there was one.
    pub fn delete(&mut self, name: &str) -> bool {
        self.0.get_mut(name).and_then(|entry| entry.current.take()).is_some()
    }

    /// The names of all settings, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, entry)| entry.current.is_some()).map(|(name, _)| name.as_str())
    }

    /// What differs from what the host has: names, and new values as JSON text, or
    /// none where the setting was deleted.
    pub fn changes(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let changed = self.0.iter().filter(|(_, entry)| entry.current != entry.saved);
        changed.map(|(name, entry)| (name.as_str(), entry.current.as_deref()))
    }

    /// Saves the changes now, durably, whatever becomes of the run afterwards: a cursor
    /// after each page of a long pull. Does nothing if nothing changed.
    ///
    /// # Errors
    /// See [`SaveError`]. The changes stay pending: the run's end tries to save them
    /// once more.
    pub fn save(&mut self) -> Result<(), SaveError> {
        let changes = self.to_changes();
        if changes.is_empty() {
            return Ok(());
        }
        commit(&changes)?;
        for entry in self.0.values_mut() {
            entry.saved.clone_from(&entry.current);
        }
        Ok(())
    }

    pub(crate) fn from_host(settings: Vec<Setting>) -> Self {
        let entry = |value: String| Entry { saved: Some(value.clone()), current: Some(value) };
        Self(settings.into_iter().map(|Setting { name, value }| (name, entry(value))).collect())
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.to_changes()
    }

    fn to_changes(&self) -> Vec<Change> {
        let change = |(name, value): (&str, Option<&str>)| Change {
            name: name.to_owned(),
            value: value.map(ToOwned::to_owned),
        };
        self.changes().map(change).collect()
    }
}

#[cfg(target_family = "wasm")]
fn commit(changes: &[Change]) -> Result<(), SaveError> {
    use crate::bindings::tidegate::workflow::settings::{self, CommitError};
    settings::commit(changes).map_err(|error| match error {
        CommitError::Invalid(why) => SaveError::Invalid(why),
        CommitError::Refused(why) => SaveError::Refused(why),
        CommitError::Unavailable(why) => SaveError::Unavailable(why),
    })
}

#[cfg(not(target_family = "wasm"))]
fn commit(_changes: &[Change]) -> Result<(), SaveError> {
    Ok(())
}

/// Settings as the host would hand them over, for tests of a handler.
impl<S: Into<String>> FromIterator<(S, Value)> for Settings {
    fn from_iter<I: IntoIterator<Item = (S, Value)>>(settings: I) -> Self {
        let setting = |(name, value): (S, Value)| Setting { name: name.into(), value: value.to_string() };
        Self::from_host(settings.into_iter().map(setting).collect())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> Settings {
        Settings::from_iter([("KEY", json!("secret")), ("COUNT", json!(3)), ("LIST", json!([1, "two", 3.5]))])
    }

    #[test]
    fn values_keep_their_json_types() {
        let settings = settings();
        assert_eq!(settings.get::<String>("KEY").ok().flatten().as_deref(), Some("secret"));
        assert_eq!(settings.require::<u8>("COUNT").ok(), Some(3));
        assert_eq!(settings.require::<Value>("LIST").ok(), Some(json!([1, "two", 3.5])));
        assert_eq!(settings.names().collect::<Vec<_>>(), ["COUNT", "KEY", "LIST"]);
    }

    #[test]
    fn errors_name_the_setting_and_not_its_value() {
        let settings = settings();
        let error = settings.get::<u8>("KEY").expect_err("it is no number");
        assert_eq!(error.to_string(), "the setting KEY does not have the expected form");
        let error = settings.require::<u8>("CURSOR").expect_err("there is none");
        assert_eq!(error.to_string(), "the setting CURSOR is missing");
        assert_eq!(format!("{settings:?}"), r#"{"COUNT", "KEY", "LIST"}"#);
    }

    #[test]
    fn only_what_differs_is_a_change() {
        let mut settings = settings();
        settings.set("COUNT", 3).expect("it is JSON"); // as before
        settings.set("KEY", "other").expect("it is JSON");
        settings.set("NEW", json!({"a": null})).expect("it is JSON");
        settings.set("GONE", 1).expect("it is JSON"); // set and deleted again
        assert!(settings.delete("GONE"));
        assert!(settings.delete("LIST"));
        assert!(!settings.delete("NEVER"));
        let changes: Vec<_> = settings.changes().collect();
        assert_eq!(changes, [("KEY", Some(r#""other""#)), ("LIST", None), ("NEW", Some(r#"{"a":null}"#))]);
        assert_eq!(settings.get::<Value>("LIST").ok(), Some(None));
    }

    #[test]
    fn what_was_saved_early_is_no_change_any_more() {
        let mut settings = settings();
        settings.set("COUNT", 4).expect("it is JSON");
        settings.delete("LIST");
        settings.save().expect("outside a sandbox it succeeds");
        assert_eq!(settings.changes().count(), 0);
        settings.set("COUNT", 3).expect("it is JSON");
        assert_eq!(settings.changes().collect::<Vec<_>>(), [("COUNT", Some("3"))]);
    }

    #[test]
    fn value_that_json_cannot_hold_keeps_the_old_one() {
        let mut settings = settings();
        let error = settings.set("COUNT", BTreeMap::from([((1, 2), 3)])).expect_err("a key is no text");
        assert_eq!(error.to_string(), "the value for the setting COUNT is not JSON");
        assert_eq!(settings.changes().count(), 0);
    }
}
