//! `tidegate serve`.

use std::path::{Path, PathBuf};

use clap::Args;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use serde_json::json;
use toml::Value;

use super::error::{Exit, Explain, Failure, Result};
use super::human::time;
use super::{Context, Format, in_process, logging};
use crate::app::Started;
use crate::config::{Config, ConfigError, DEFAULTS, Override};
use crate::data::TOKEN_FILE;

/// Run the host until SIGTERM or ctrl-c
///
/// Prints one line with its addresses once it answers requests.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The data folder; left out, TIDEGATE_DATA, or ~/.local/share/tidegate
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Give the catch endpoints a listener of their own
    #[arg(long, value_name = "ADDR")]
    catch_listen: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the default configuration file, which documents every key, and end
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    format: Format,
}

/// What changes the configuration.
#[derive(Debug, Default, Args)]
pub(crate) struct ConfigArgs {
    /// A configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Let workflows reach this private or loopback destination; may be repeated
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) allow_private: Vec<String>,
}

impl ConfigArgs {
    /// The configuration with these and `more` flags.
    ///
    /// # Errors
    /// The first key or value that is wrong.
    pub(crate) fn load(&self, mut more: Vec<Override>) -> Result<Config> {
        if !self.allow_private.is_empty() {
            let list = self.allow_private.iter().cloned().map(Value::String).collect();
            more.push(flag("egress.allow_private", Value::Array(list), "--allow-private"));
        }
        Config::from_process(self.config.as_deref(), more).map_err(of_config)
    }
}

/// A flag as a value of the configuration.
pub(crate) fn flag(key: &str, value: Value, origin: &str) -> Override {
    Override { key: key.to_owned(), value, origin: origin.to_owned() }
}

fn of_config(error: ConfigError) -> Failure {
    let hint = error.hint();
    Failure::from(error).exit(Exit::Configuration).hint(hint)
}

/// Serves.
pub(crate) fn run(args: &ServeArgs, context: &mut Context) -> Result<()> {
    if args.print_config {
        return context.out.line(DEFAULTS.trim_end());
    }
    let mut flags = Vec::new();
    if let Some(address) = &args.listen {
        flags.push(flag("server.listen", Value::String(address.clone()), "--listen"));
    }
    if let Some(address) = &args.catch_listen {
        flags.push(flag("server.catch_listen", Value::String(address.clone()), "--catch-listen"));
    }
    let config = args.config.load(flags)?;
    logging::start(&config.log)?;
    let env = &context.env;
    let data = args.data.clone().or_else(|| env.data.clone()).or_else(|| env.default_data.clone());
    let data = data.ok_or_else(|| {
        Failure::usage("there is no place for a data folder: HOME is not set").hint("name one with --data")
    })?;
    let mut told = Ok(());
    let (keys, inherited) = (env.keys(&config), env.listeners_inherited);
    no_core_files()?;
    in_process::serve(config, &data, keys, inherited, |started| {
        told = tell(started, &data, args.format, context)
    })?;
    told
}

/// A core file would hold every secret in memory.
fn no_core_files() -> Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).context("turn core files off")
}

/// Where the system hands cores to a program, the limit alone does not count. Afterwards other
/// processes of the same user cannot look into this one's memory either, and some files of
/// `/proc/self` are root's: the engine has opened what it needs of them.
fn not_dumpable() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("turn core dumps off")
}

fn tell(started: &Started<'_>, data: &Path, format: Format, context: &mut Context) -> Result<()> {
    not_dumpable()?;
    let Started { urls, link, key_made } = started;
    if let Some(file) = key_made {
        context.out.warning(format!("made the master key {}", file.display()));
        context.out.hint(
            "back it up, apart from the data folder: without it the settings of all workflows are lost",
        );
    }
    let url = format!("http://{}", urls.api);
    let sign_in = link.map(|link| format!("{url}{}", link.path()));
    let out = &mut context.out;
    if format.json {
        let pid = std::process::id();
        return out.json(&json!({"url": url, "catch_url": urls.catch_url, "pid": pid, "data": data,
            "sign_in_url": sign_in}));
    }
    if urls.catch == urls.api {
        out.line(format!("listening on {url}"))?;
    } else {
        out.line(format!("listening on {url}, for catch requests on http://{}", urls.catch))?;
    }
    out.flush()?;
    out.note(format!("the data folder is {0}, the operator's token in {0}/{TOKEN_FILE}", data.display()));
    if let (Some(link), Some(sign_in)) = (link, sign_in) {
        let (login, until) = (&link.login, time(link.expires_at, &out.zone));
        out.note(format!("sign in as {login}, once and until {until}, at\n  {sign_in}"));
    }
    Ok(())
}
