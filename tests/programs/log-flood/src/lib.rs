//! Writes `stdout` and `stderr` bytes, in lines of 100, and `lines` log lines of
//! `line_bytes` bytes with `fields` fields each. The host must keep what its caps allow,
//! count the rest as dropped, and neither fail the run nor slow it down.

use std::io::Write;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_guest::{Request, Result, Settings, log};

tidegate_guest::catch!(handler);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Steps {
    stdout: usize,
    stderr: usize,
    lines: usize,
    line_bytes: usize,
    fields: usize,
}

fn handler(request: Request, _settings: &mut Settings) -> Result<Value> {
    let steps: Steps = request.json()?;
    let stdout = flood(std::io::stdout().lock(), b'o', steps.stdout);
    let stderr = flood(std::io::stderr().lock(), b'e', steps.stderr);
    let message = "l".repeat(steps.line_bytes);
    let fields = vec![("field", &"value" as &dyn std::fmt::Display); steps.fields];
    for _ in 0..steps.lines {
        log::warning(&message, &fields);
    }
    Ok(json!({ "stdout_error": stdout, "stderr_error": stderr }))
}

/// Says what the host answered when it did not take everything.
fn flood(mut out: impl Write, letter: u8, mut bytes: usize) -> Option<String> {
    let mut line = [letter; 100];
    line[99] = b'\n';
    while bytes > 0 {
        let part = &line[line.len() - bytes.min(line.len())..];
        if let Err(error) = out.write_all(part) {
            return Some(error.to_string());
        }
        bytes -= part.len();
    }
    out.flush().err().map(|error| error.to_string())
}
