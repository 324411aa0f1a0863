//! A webhook that takes job applications: it checks what it is sent and answers in JSON.

use serde::Deserialize;
use serde_json::json;
use tidegate_guest::{Reply, Request, Result, Settings, log};

tidegate_guest::catch!(apply);

#[derive(Deserialize)]
struct Application {
    name: String,
    email: String,
    job: String,
}

fn apply(request: Request, settings: &mut Settings) -> Result<Reply> {
    // What the caller did wrong is a reply; what we did wrong is an error (`?`), which
    // fails the run and tells the caller nothing.
    let application: Application = match request.json() {
        Ok(application) => application,
        Err(error) => return Ok(refuse(400, &format!("not an application: {}", reason(&error)))),
    };
    if application.name.trim().is_empty() {
        return Ok(refuse(422, "name is empty"));
    }
    if !application.email.contains('@') {
        return Ok(refuse(422, "email is not an address"));
    }
    let open: String = settings.require("OPEN_JOBS")?;
    if !open.split(',').any(|job| job.trim() == application.job) {
        return Ok(refuse(422, &format!("job {:?} is not open", application.job)));
    }
    log::info("application accepted", &[("job", &application.job)]);
    Ok(Reply::new(201).json(&json!({ "accepted": true, "job": application.job })))
}

fn refuse(status: u16, message: &str) -> Reply {
    log::warning("application refused", &[("reason", &message)]);
    Reply::new(status).json(&json!({ "accepted": false, "message": message }))
}

/// The innermost cause: the JSON reader's own words, with line and column.
fn reason(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), reason)
}

// A handler is a plain function: `cargo test` runs these without a host.
#[cfg(test)]
mod tests {
    use super::*;

    fn reply_to(body: &str) -> (u16, serde_json::Value) {
        let mut settings = Settings::from_iter([("OPEN_JOBS", json!("backend-engineer, nurse"))]);
        let reply = apply(Request::new("POST", "/").with_body(body), &mut settings).unwrap();
        (reply.status(), serde_json::from_slice(reply.body_bytes().unwrap()).unwrap())
    }

    #[test]
    fn complete_application_is_accepted() {
        let (status, reply) = reply_to(r#"{"name": "Ada", "email": "ada@example.com", "job": "nurse"}"#);
        assert_eq!((status, reply), (201, json!({ "accepted": true, "job": "nurse" })));
    }

    #[test]
    fn refusal_says_why() {
        for (body, status, message) in [
            ("{}", 400, "not an application: missing field `name` at line 1 column 2"),
            (r#"{"name": " ", "email": "a@b", "job": "nurse"}"#, 422, "name is empty"),
            (r#"{"name": "Ada", "email": "ada", "job": "nurse"}"#, 422, "email is not an address"),
            (r#"{"name": "Ada", "email": "a@b", "job": "pilot"}"#, 422, "job \"pilot\" is not open"),
        ] {
            assert_eq!(reply_to(body), (status, json!({ "accepted": false, "message": message })));
        }
    }

    #[test]
    fn missing_setting_fails_the_run() {
        let body = r#"{"name": "Ada", "email": "a@b", "job": "nurse"}"#;
        let error = apply(Request::new("POST", "/").with_body(body), &mut Settings::default()).unwrap_err();
        assert_eq!(error.to_string(), "the setting OPEN_JOBS is missing");
    }
}
