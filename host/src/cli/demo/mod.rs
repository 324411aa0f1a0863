//! `tidegate demo`: what a newcomer runs first.
//!
//! A host in this process, examples deployed to it by the commands that a user would
//! type, a request, a pull, and their records. Nothing here is staged: each command
//! line that is printed is parsed and run.

mod script;
mod services;
mod stand_in;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use clap::Args;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use toml::Value;

use self::script::Script;
use self::stand_in::StandIn;
use super::error::{Explain, Failure, Result};
use super::in_process::{of_app, runtime, stop_on_signal};
use super::serve::{ConfigArgs, flag};
use super::{Context, logging, python_tool};
use crate::app;
use crate::config::Config;
use crate::keys::KeySource;

/// See workflows run: a request, a pull and their records, on a host of its own
///
/// Goes on serving until ctrl-c.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The demo's own data folder; left out, in the cache
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; left out, 127.0.0.1:8080, or a free port when that is taken
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// End when everything was shown
    #[arg(long)]
    once: bool,
}

const LISTEN: &str = "127.0.0.1:8080";

/// Shows everything, then serves.
pub(crate) fn run(args: &DemoArgs, context: &mut Context) -> Result<()> {
    let cache = python_tool::cache(&context.env)?;
    let data = args.data.clone().unwrap_or_else(|| cache.join("demo"));
    let data = std::path::absolute(&data).context("find the data folder")?;
    let runtime = runtime()?;
    let stand_in = runtime.block_on(StandIn::start())?;
    let config = config(args.listen.clone(), &stand_in)?;
    logging::start(&config.log)?;

    let shutdown = CancellationToken::new();
    let _entered = runtime.enter();
    stop_on_signal(shutdown.clone())?;
    let keys = context.env.keys(&config);
    let (url, host) = start(&runtime, config, &data, keys, shutdown.clone())?;
    // From here on the commands find this host, and no other.
    (context.env.url, context.env.token) = (None, None);
    context.env.data = Some(data.clone());
    let folder = cache.join("demo-projects");
    let shown = Script { context, stand_in: &stand_in, folder: &folder }.play(&url, &data);
    // What fails because of ctrl-c is no failure.
    let was_stopped = shutdown.is_cancelled();
    if args.once || shown.is_err() {
        shutdown.cancel();
    }
    let served = runtime.block_on(host).context("serve")?;
    match shown {
        Err(failure) if !was_stopped => Err(failure),
        _ => served,
    }
}

fn config(listen: Option<String>, stand_in: &StandIn) -> Result<Config> {
    let listen = listen.unwrap_or_else(|| match TcpListener::bind(LISTEN) {
        Ok(_) => LISTEN.to_owned(),
        Err(_) => "127.0.0.1:0".to_owned(),
    });
    let flags = vec![
        flag("server.listen", Value::String(listen), "--listen"),
        // The records tell what happens; the host's own lines would stand between them.
        flag("log.level", Value::String("warn".to_owned()), "`tidegate demo`"),
    ];
    let allow_private = vec![stand_in.address.to_string()];
    ConfigArgs { config: None, allow_private }.load(flags)
}

/// Starts the host and returns its URL and its task.
fn start(
    runtime: &Runtime,
    config: Config,
    data: &Path,
    keys: KeySource,
    shutdown: CancellationToken,
) -> Result<(String, JoinHandle<Result<()>>)> {
    let (sender, ready) = mpsc::sync_channel(1);
    let data = data.to_owned();
    let host = runtime.spawn(async move {
        // The receiver waits for this or for the end of the task.
        let tell =
            move |started: &app::Started<'_>| drop(sender.send(format!("http://{}", started.urls.api)));
        app::serve(config, &data, keys, Vec::new(), shutdown, tell).await.map_err(of_app)
    });
    match ready.recv() {
        Ok(url) => Ok((url, host)),
        Err(_) => {
            runtime.block_on(host).context("start the host")??;
            Err(Failure::new("the host ended before it was ready"))
        }
    }
}
