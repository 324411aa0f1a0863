//! Waits inside the host for `seconds` (3,600 unless the body says so), by blocking on
//! one timer (`via`: `block`, the default) or polling two (`poll`). The guest burns no
//! fuel and passes no epoch check meanwhile: the host's own wall-clock limit must end
//! the run at its deadline and answer with 504.

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_guest::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use tidegate_guest::bindings::wasi::io::poll::poll;
use tidegate_guest::{Request, Result, Settings};

tidegate_guest::catch!(handler);

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Steps {
    seconds: u64,
    via: Via,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Via {
    Block,
    Poll,
}

impl Default for Steps {
    fn default() -> Self {
        Self { seconds: 3_600, via: Via::Block }
    }
}

fn handler(request: Request, _settings: &mut Settings) -> Result<Value> {
    let steps = if request.body().is_empty() { Steps::default() } else { request.json::<Steps>()? };
    let timer = subscribe_duration(steps.seconds.saturating_mul(1_000_000_000));
    match steps.via {
        Via::Block => timer.block(),
        Via::Poll => {
            poll(&[&timer, &subscribe_duration(u64::MAX)]);
        }
    }
    Ok(json!({ "waited_seconds": steps.seconds }))
}
