//! Reads and changes settings as the body asks, in this order: `set` (name to value),
//! `set_json` (name to text, valid JSON or not), `delete` (names), `save` (early), then
//! `set_late`, and at the end `fail` (a message) or `trap`. Without any of them the
//! reply is an object with every setting: values must come back with the JSON type they
//! were saved with. The host must save nothing of a run that fails but what was saved
//! early, and refuse values that are not JSON and names that are too long; a refusal of
//! the early save is the reply's `refused`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Steps {
    set: BTreeMap<String, Value>,
    set_json: BTreeMap<String, String>,
    delete: Vec<String>,
    save: bool,
    set_late: BTreeMap<String, Value>,
    fail: Option<String>,
    trap: bool,
}

fn handler(request: Request, settings: &mut Settings) -> Result<Value> {
    let steps = if request.body().is_empty() { Steps::default() } else { request.json::<Steps>()? };
    for (name, value) in steps.set {
        settings.set(name, value)?;
    }
    for (name, json) in steps.set_json {
        settings.set_json(name, json);
    }
    for name in steps.delete {
        settings.delete(&name);
    }
    let refused = if steps.save { settings.save().err().map(|error| error.to_string()) } else { None };
    for (name, value) in steps.set_late {
        settings.set(name, value)?;
    }
    if steps.trap {
        std::process::abort();
    }
    if let Some(message) = steps.fail {
        return Err(message.into());
    }
    let names: Vec<_> = settings.names().map(ToOwned::to_owned).collect();
    let mut values = serde_json::Map::new();
    for name in names {
        // Text that is no JSON is shown as it is: the host is about to refuse it.
        let value = settings.get(&name).unwrap_or_else(|_| settings.get_json(&name).map(Value::from));
        values.insert(name, value.unwrap_or_default());
    }
    Ok(json!({ "settings": values, "refused": refused }))
}
