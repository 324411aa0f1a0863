//! Runs once for each HTTP request at the workflow's URL, in a fresh sandbox.

use tidegate_guest::serde_json::{Value, json};
use tidegate_guest::{Reply, Request, Result, Settings};

tidegate_guest::catch!(greet);

/// Answers one request. What is set in `settings` is saved when the run succeeds.
fn greet(request: Request, settings: &mut Settings) -> Result<Reply> {
    let body: Value = request.json()?;
    let name = body["name"].as_str().unwrap_or("world");
    let calls = settings.get::<u64>("CALLS")?.unwrap_or(0) + 1;
    settings.set("CALLS", calls)?;
    println!("call {calls}: greeting {name}");
    let greeting = settings.get::<String>("GREETING")?;
    let greeting = greeting.as_deref().unwrap_or("Hello");
    Ok(Reply::ok().json(&json!({"greeting": format!("{greeting}, {name}!")})))
}
