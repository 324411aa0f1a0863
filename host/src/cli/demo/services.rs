//! Stand-ins for the services of the two case studies: an HR API, a messaging service, an
//! applicant tracking system. They keep what they receive, and fail on demand.
//!
//! | request | does |
//! | --- | --- |
//! | `GET /v1/profile/indexing?source_key=&key=` | a profile |
//! | `PUT /v1/profile/indexing` | edits a profile |
//! | `GET /v1/profiles/searching?tags_excluded=&limit=` | profiles without those tags |
//! | `POST /sms` | sends a message |
//! | `POST /profiles` | takes people, once for each `Idempotency-Key` |
//! | `POST /faults` | has the next requests fail: `{"hr": [..], "sms": [..], "ats": [..]}` |
//! | `GET /received` | everything that arrived |
//!
//! A fault is a status as text, `slow` (no answer), `reset`, `nonsense` (no JSON), or
//! `lost` (the request is carried out, and its answer never arrives).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// The keys that the services want in `X-API-KEY`.
pub(super) const HR_KEY: &str = "demo-hr-key";
pub(super) const SMS_KEY: &str = "demo-sms-key";
pub(super) const ATS_KEY: &str = "demo-ats-key";
/// The source that holds the profiles.
pub(super) const SOURCE: &str = "s-1";

/// Profiles of the HR API: key, first name, last name.
const PROFILES: [(&str, &str, &str); 4] = [
    ("p-1", "Ada", "Martin"),
    ("p-2", "Grace", "Okafor"),
    ("p-3", "Radia", "Lindqvist"),
    ("p-4", "Hedy", "Costa"),
];
/// How long a slow answer takes: longer than anybody waits.
const SLOW: Duration = Duration::from_secs(120);

/// The services.
#[derive(Default)]
pub(super) struct Services(Mutex<State>);

struct State {
    profiles: BTreeMap<&'static str, Value>,
    messages: Vec<Value>,
    people: Vec<Value>,
    batches: Vec<String>,
    faults: BTreeMap<Service, VecDeque<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Service {
    Hr,
    Sms,
    Ats,
}

/// A request, as much of it as matters here.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) batch: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What the caller gets.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// A status and a JSON document.
    Answer(StatusCode, Value),
    /// An answer that is not JSON.
    Nonsense,
    /// The connection is closed.
    HangUp,
    /// Nothing for so long.
    Slow(Duration),
}

impl Default for State {
    fn default() -> Self {
        let profile = |(key, first, last): (&'static str, &str, &str)| {
            let info = json!({
                "first_name": first, "last_name": last, "email": format!("{key}@example.com"),
                "phone": format!("+33 1 00 00 00 0{}", &key[2..]), "date_birth": "1990-01-01", "gender": "female",
                "summary": "",
            });
            (key, json!({ "key": key, "source": { "key": SOURCE }, "info": info, "tags": [] }))
        };
        Self {
            profiles: PROFILES.into_iter().map(profile).collect(),
            messages: Vec::new(),
            people: Vec::new(),
            batches: Vec::new(),
            faults: BTreeMap::new(),
        }
    }
}

impl Services {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Texts of the messages that were sent.
    pub(super) fn messages(&self) -> Vec<Value> {
        self.state().messages.clone()
    }

    /// References of the people that arrived at the applicant tracking system.
    pub(super) fn people(&self) -> Vec<Value> {
        self.state().people.iter().map(|one| one["reference"].clone()).collect()
    }

    /// Answers a request; `None` when none of the services has this path.
    pub(super) fn answer(&self, asked: &Asked<'_>) -> Option<Told> {
        let service = match asked.path {
            "/faults" | "/received" => return Some(self.control(asked)),
            "/sms" => Service::Sms,
            "/profiles" => Service::Ats,
            path if path.starts_with("/v1/") => Service::Hr,
            _ => return None,
        };
        let mut state = self.state();
        let fault = state.faults.get_mut(&service).and_then(VecDeque::pop_front);
        let status = fault.as_deref().and_then(|fault| fault.parse().ok());
        if let Some(status) = status.and_then(|status: u16| StatusCode::from_u16(status).ok()) {
            return Some(Told::Answer(status, json!({ "code": status.as_u16(), "message": "on demand" })));
        }
        match fault.as_deref() {
            Some("slow") => return Some(Told::Slow(SLOW)),
            Some("reset") => return Some(Told::HangUp),
            Some("nonsense") => return Some(Told::Nonsense),
            _ => {}
        }
        let wanted = match service {
            Service::Hr => HR_KEY,
            Service::Sms => SMS_KEY,
            Service::Ats => ATS_KEY,
        };
        if asked.key != Some(wanted) {
            return Some(refused(StatusCode::UNAUTHORIZED, "Unauthorized"));
        }
        let told = match service {
            Service::Hr => state.hr(asked),
            Service::Sms => state.sms(asked),
            Service::Ats => state.ats(asked),
        };
        Some(if fault.as_deref() == Some("lost") { Told::HangUp } else { told })
    }

    fn control(&self, asked: &Asked<'_>) -> Told {
        let mut state = self.state();
        if asked.path == "/received" {
            let received =
                json!({ "messages": state.messages, "people": state.people, "profiles": state.profiles });
            return Told::Answer(StatusCode::OK, received);
        }
        match serde_json::from_slice::<BTreeMap<Service, Vec<String>>>(asked.body) {
            Ok(faults) => {
                for (service, faults) in faults {
                    state.faults.entry(service).or_default().extend(faults);
                }
                Told::Answer(StatusCode::OK, json!({}))
            }
            Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }
}

impl State {
    fn hr(&mut self, asked: &Asked<'_>) -> Told {
        let query: BTreeMap<String, String> = form(asked.query);
        let found = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        match (asked.method, asked.path) {
            (&Method::GET, "/v1/profile/indexing") => match self.profiles.get(found("key")) {
                Some(profile) if found("source_key") == SOURCE => enveloped(profile.clone()),
                _ => refused(StatusCode::NOT_FOUND, "Profile not found"),
            },
            (&Method::GET, "/v1/profiles/searching") => {
                let excluded: Vec<Vec<Value>> =
                    serde_json::from_str(found("tags_excluded")).unwrap_or_default();
                let has = |profile: &Value, tag: &Value| {
                    profile["tags"].as_array().is_some_and(|tags| tags.contains(tag))
                };
                let is_excluded =
                    |profile: &&Value| excluded.iter().any(|all| all.iter().all(|tag| has(profile, tag)));
                let limit = found("limit").parse().unwrap_or(30);
                let rest = self.profiles.values().filter(|profile| !is_excluded(profile)).take(limit);
                enveloped(json!({ "profiles": rest.collect::<Vec<_>>() }))
            }
            (&Method::PUT, "/v1/profile/indexing") => {
                let edited: Value = serde_json::from_slice(asked.body).unwrap_or_default();
                match edited["key"].as_str().and_then(|key| self.profiles.get_mut(key)) {
                    Some(profile) => {
                        profile["tags"] = edited["tags"].clone();
                        enveloped(json!({}))
                    }
                    None => refused(StatusCode::NOT_FOUND, "Profile not found"),
                }
            }
            _ => refused(StatusCode::NOT_FOUND, "Not found"),
        }
    }

    fn sms(&mut self, asked: &Asked<'_>) -> Told {
        let message: Value = serde_json::from_slice(asked.body).unwrap_or_default();
        if !message["text"].is_string() {
            return refused(StatusCode::UNPROCESSABLE_ENTITY, "text is missing");
        }
        self.messages.push(message["text"].clone());
        Told::Answer(StatusCode::OK, json!({}))
    }

    fn ats(&mut self, asked: &Asked<'_>) -> Told {
        let sent: Value = serde_json::from_slice(asked.body).unwrap_or_default();
        let (Some(people), Some(batch)) = (sent["profiles"].as_array(), asked.batch) else {
            return refused(StatusCode::UNPROCESSABLE_ENTITY, "profiles or Idempotency-Key is missing");
        };
        if !self.batches.iter().any(|known| known == batch) {
            self.batches.push(batch.to_owned());
            self.people.extend(people.iter().cloned());
        }
        Told::Answer(StatusCode::OK, json!({}))
    }
}

fn enveloped(data: Value) -> Told {
    Told::Answer(StatusCode::OK, json!({ "code": 200, "message": "", "data": data }))
}

fn refused(status: StatusCode, message: &str) -> Told {
    Told::Answer(status, json!({ "code": status.as_u16(), "message": message }))
}

/// The fields of a query.
fn form(query: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(services: &Services, method: Method, target: &str, key: &str, body: &str) -> Told {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let asked =
            Asked { method: &method, path, query, key: Some(key), batch: Some("b-1"), body: body.as_bytes() };
        services.answer(&asked).unwrap()
    }

    fn data(told: Told) -> Value {
        match told {
            Told::Answer(StatusCode::OK, mut value) => value["data"].take(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn they_keep_what_they_receive() {
        let services = Services::default();
        ask(&services, Method::POST, "/sms", SMS_KEY, r#"{"text": "hi"}"#);
        for _ in 0..2 {
            ask(&services, Method::POST, "/profiles", ATS_KEY, r#"{"profiles": [{"reference": "p-1"}]}"#);
        }
        assert_eq!((services.messages(), services.people()), (vec![json!("hi")], vec![json!("p-1")]));

        let tag = r#"{"key": "p-1", "tags": [{"name": "sync", "value": "1"}]}"#;
        ask(&services, Method::PUT, "/v1/profile/indexing", HR_KEY, tag);
        let search = "/v1/profiles/searching?limit=9&tags_excluded=%5B%5B%7B%22name%22%3A%22sync%22%2C%22value%22%3A%221%22%7D%5D%5D";
        let found = data(ask(&services, Method::GET, search, HR_KEY, ""));
        let keys: Vec<_> =
            found["profiles"].as_array().unwrap().iter().map(|one| one["key"].clone()).collect();
        assert_eq!(keys, ["p-2", "p-3", "p-4"]);
        let got =
            data(ask(&services, Method::GET, "/v1/profile/indexing?source_key=s-1&key=p-2", HR_KEY, ""));
        assert_eq!(got["info"]["first_name"], "Grace");
    }

    #[test]
    fn they_fail_on_demand_and_then_no_more() {
        let services = Services::default();
        let faults = r#"{"sms": ["429", "500", "slow", "reset", "nonsense", "lost"]}"#;
        ask(&services, Method::POST, "/faults", "", faults);
        let told: Vec<_> =
            (0..7).map(|_| ask(&services, Method::POST, "/sms", SMS_KEY, r#"{"text": "hi"}"#)).collect();
        let on_demand = |status| {
            let status = StatusCode::from_u16(status).unwrap();
            Told::Answer(status, json!({ "code": status.as_u16(), "message": "on demand" }))
        };
        let sent = Told::Answer(StatusCode::OK, json!({}));
        assert_eq!(
            told,
            [
                on_demand(429),
                on_demand(500),
                Told::Slow(SLOW),
                Told::HangUp,
                Told::Nonsense,
                Told::HangUp,
                sent
            ]
        );
        assert_eq!(services.messages().len(), 2, "what was lost on the way back was sent");
        let wrong = ask(&services, Method::POST, "/sms", "none", r#"{"text": "hi"}"#);
        assert_eq!(wrong, refused(StatusCode::UNAUTHORIZED, "Unauthorized"));
        let odd = ask(&services, Method::POST, "/faults", "", r#"{"fax": []}"#);
        assert!(matches!(odd, Told::Answer(StatusCode::BAD_REQUEST, _)), "{odd:?}");
    }
}
