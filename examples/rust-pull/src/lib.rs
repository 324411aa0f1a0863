//! Copies new candidates from one system to another, page by page, and remembers how far
//! it came in the setting `CURSOR`.
//!
//! The source answers `GET SOURCE_URL?after=<cursor>` with the next page,
//! `{"candidates": [...], "cursor": "<after these>", "more": true}`; an empty page needs no
//! cursor. The target takes `POST TARGET_URL` with `{"candidates": [...]}`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_guest::{Result, Settings, Tick, http, log};

tidegate_guest::pull!(copy);

/// What one run does at most: the next one goes on from the cursor.
const PAGES_MAX: u32 = 50;

#[derive(Deserialize)]
struct Page {
    candidates: Vec<Value>,
    cursor: Option<String>,
    #[serde(default)]
    more: bool,
}

/// Kept in the run's record.
#[derive(Serialize)]
struct Summary {
    pages: u32,
    candidates: usize,
    cursor: Option<String>,
}

fn copy(tick: Tick, settings: &mut Settings) -> Result<Summary> {
    let source: String = settings.require("SOURCE_URL")?;
    let target: String = settings.require("TARGET_URL")?;
    let key: String = settings.require("API_KEY")?;
    let cursor = settings.get("CURSOR")?;
    let mut summary = Summary { pages: 0, candidates: 0, cursor };

    while summary.pages < PAGES_MAX {
        let page = fetch(&source, &key, summary.cursor.as_deref())?;
        if !page.candidates.is_empty() {
            let sent = http::post(&target).header("x-api-key", &key);
            sent.json(&json!({ "candidates": page.candidates })).send()?.error_for_status()?;
        }
        summary.pages += 1;
        summary.candidates += page.candidates.len();
        if let Some(cursor) = page.cursor {
            // Saved at once: if a later page fails, this one is not copied again.
            settings.set("CURSOR", &cursor)?;
            settings.save()?;
            summary.cursor = Some(cursor);
        }
        if !page.more {
            break;
        }
    }
    log::info("candidates copied", &[("schedule", &tick.schedule), ("count", &summary.candidates)]);
    Ok(summary)
}

fn fetch(source: &str, key: &str, cursor: Option<&str>) -> Result<Page> {
    let mut request = http::request("GET", source).header("x-api-key", key);
    if let Some(cursor) = cursor {
        request = request.query("after", cursor);
    }
    Ok(request.send()?.error_for_status()?.json()?)
}
