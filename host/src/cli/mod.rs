//! The command line: one file per command.
//!
//! Commands that use a host speak to it over the management API ([`client`]); they see
//! nothing of its store or its engine. What runs in this process (`serve`, `run`,
//! `doctor`, `demo`) goes through [`in_process`] and [`sandbox`].

mod address;
mod archive;
mod audit;
mod backup;
mod build;
mod cancel;
mod client;
mod compile_component;
mod dead;
mod demo;
mod deploy;
mod doctor;
mod egress;
mod env;
mod error;
#[cfg(test)]
mod fake;
mod human;
mod in_process;
mod invoke;
mod key;
mod list;
mod logging;
mod login;
mod logs;
mod new;
mod output;
mod page;
mod pause;
mod profile;
mod program;
mod project;
mod python;
mod python_tool;
mod replay;
mod request;
mod rollback;
mod run;
mod runs;
mod runtime;
mod sandbox;
mod schedule;
mod sdk;
mod serve;
mod settings;
mod share;
mod show;
mod show_run;
mod signature;
mod sse;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod user;
mod versions;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use client::Client;
use env::{Environment, Input};
use error::{Exit, Result};
use output::Output;

/// A self-hosted, sandboxed WebAssembly function host
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = false, subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "\
The host is found by TIDEGATE_URL (default http://127.0.0.1:8080) with TIDEGATE_TOKEN, by \
TIDEGATE_DATA (a data folder of this machine), or by the profile that `tidegate login` wrote.

Exit codes: 0 done, 1 failed, 2 usage, 64 bad configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    New(new::NewArgs),
    Build(build::BuildArgs),
    Run(run::RunArgs),
    Deploy(deploy::DeployArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Versions(versions::VersionsArgs),
    Rollback(rollback::RollbackArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Archive(archive::ArchiveArgs),
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    #[command(subcommand)]
    Settings(settings::SettingsCommand),
    #[command(subcommand)]
    Key(key::KeyCommand),
    Share(share::ShareArgs),
    #[command(subcommand)]
    Signature(signature::SignatureCommand),
    #[command(subcommand)]
    Egress(egress::EgressCommand),
    Invoke(invoke::InvokeArgs),
    Runs(runs::RunsArgs),
    Logs(logs::LogsArgs),
    Stats(stats::StatsArgs),
    ShowRun(show_run::ShowRunArgs),
    Replay(replay::ReplayArgs),
    Cancel(cancel::CancelArgs),
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    #[command(subcommand)]
    Runtime(runtime::RuntimeCommand),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Doctor(doctor::DoctorArgs),
    Demo(demo::DemoArgs),
    #[command(subcommand)]
    User(user::UserCommand),
    #[command(subcommand)]
    Token(token::TokenCommand),
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    #[command(name = crate::engine::CHILD_COMMAND, hide = true)]
    CompileComponent(compile_component::CompileArgs),
}

/// How a command prints its data.
#[derive(Debug, Clone, Copy, Args)]
struct Format {
    /// Print one JSON document and nothing else on standard output
    #[arg(long)]
    json: bool,
}

/// What a command works with.
struct Context {
    env: Environment,
    out: Output,
    input: Input,
}

impl Context {
    /// The host that the environment means.
    fn client(&self) -> Result<Client> {
        Client::find(&self.env)
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output and is no failure; clap knows.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let mut out = Output::of_process();
    let result = Environment::of_process().and_then(|env| {
        let mut context = Context { env, out: Output::of_process(), input: Input::of_process() };
        dispatch(cli.command, &mut context)?;
        context.out.flush()
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match failure.exit {
                Exit::Told | Exit::ReaderGone => {}
                Exit::Failed | Exit::Usage | Exit::Configuration => out.failure(&failure),
            }
            ExitCode::from(failure.exit.code())
        }
    }
}

fn dispatch(command: Command, context: &mut Context) -> Result<()> {
    match command {
        Command::Serve(args) => serve::run(&args, context),
        Command::New(args) => new::run(&args, context),
        Command::Build(args) => build::run(&args, context),
        Command::Run(args) => run::run(&args, context),
        Command::Deploy(args) => deploy::run(&args, context),
        Command::List(args) => list::run(&args, context),
        Command::Show(args) => show::run(&args, context),
        Command::Versions(args) => versions::run(&args, context),
        Command::Rollback(args) => rollback::run(&args, context),
        Command::Pause(args) => pause::pause(&args, context),
        Command::Resume(args) => pause::resume(&args, context),
        Command::Archive(args) => archive::run(&args, context),
        Command::Schedule(command) => schedule::run(&command, context),
        Command::Settings(command) => settings::run(&command, context),
        Command::Key(command) => key::run(&command, context),
        Command::Share(args) => share::run(&args, context),
        Command::Egress(command) => egress::run(&command, context),
        Command::Signature(command) => signature::run(&command, context),
        Command::Invoke(args) => invoke::run(&args, context),
        Command::Runs(args) => runs::run(&args, context),
        Command::Stats(args) => stats::run(&args, context),
        Command::Logs(args) => logs::run(&args, context),
        Command::ShowRun(args) => show_run::run(&args, context),
        Command::Replay(args) => replay::run(&args, context),
        Command::Cancel(args) => cancel::run(&args, context),
        Command::Dead(command) => dead::run(&command, context),
        Command::Runtime(command) => runtime::run(&command, context),
        Command::Backup(args) => backup::backup(&args, context),
        Command::Restore(args) => backup::restore(&args, context),
        Command::Doctor(args) => doctor::run(&args, context),
        Command::Demo(args) => demo::run(&args, context),
        Command::User(command) => user::run(&command, context),
        Command::Token(command) => token::run(&command, context),
        Command::Audit(command) => audit::run(&command, context),
        Command::Login(args) => login::login(&args, context),
        Command::Logout(args) => login::logout(&args, context),
        Command::CompileComponent(args) => compile_component::run(&args, &mut context.out),
    }
}
