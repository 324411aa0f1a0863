//! The command line of the benchmark.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum as _};
use tidegate_bench::load::{Load, Target};
use tidegate_bench::rounds::Plan;
use tidegate_bench::suite::{Case, Results, Suite};
use tidegate_bench::tidegate::Built;
use tidegate_bench::{HELLO, hello_server, publish, report, services};

/// Tidegate measured beside its peers.
#[derive(Parser)]
#[command(name = "tidegate-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(RunArguments),
    /// Serves hello with nothing but hyper: the peer for comparison.
    HelloServer {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Serves what the case study with two HTTP calls talks to.
    Services {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    Publish(PublishArguments),
    Load(LoadArguments),
}

/// Runs the benchmark and prints its tables.
#[derive(Args)]
struct RunArguments {
    /// The binary `tidegate`, built for release.
    #[arg(long)]
    tidegate: PathBuf,
    /// The folder with the Rust guests' components.
    #[arg(long)]
    guests: PathBuf,
    /// The folder with the Python runtimes' components.
    #[arg(long)]
    runtimes: PathBuf,
    /// Where peers are installed.
    #[arg(long)]
    cache: PathBuf,
    /// Where the raw data goes, as JSON.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Only these cases; all of them when it is left out.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Case>,
    /// Rounds; medians are taken over them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of a round in which responses are counted; one second of load comes before.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Connections of the cases with a hello.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    connections: Vec<usize>,
    /// Minutes of the steady load.
    #[arg(long, default_value_t = 10.0)]
    steady_minutes: f64,
    /// Ends with exit code 1 when a target is missed.
    #[arg(long)]
    strict: bool,
}

/// Writes the tables and charts of one result into a README.
#[derive(Args)]
struct PublishArguments {
    /// The raw data of a run.
    results: PathBuf,
    /// The README, which has the two lines that mark the place.
    #[arg(long, default_value = "README.md")]
    readme: PathBuf,
    /// The folder for the charts.
    #[arg(long, default_value = "tests/bench/charts")]
    charts: PathBuf,
}

/// Puts a load on any server and prints what came back.
#[derive(Args)]
struct LoadArguments {
    /// Where the server is.
    address: SocketAddr,
    /// The path to post to.
    #[arg(long, default_value = "/")]
    path: String,
    /// Connections, each with one request on its way.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Seconds in which responses are counted; one second of load comes before.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The status that every response must have.
    #[arg(long, default_value_t = 200)]
    status: u16,
}

#[allow(clippy::print_stderr, reason = "it talks to a terminal")]
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::HelloServer { listen } => hello_server::serve(listen).map(|()| ExitCode::SUCCESS),
        Command::Services { listen } => services::serve(listen).map(|()| ExitCode::SUCCESS),
        Command::Publish(arguments) => {
            publish::publish(&arguments.results, &arguments.readme, &arguments.charts)
                .map(|()| ExitCode::SUCCESS)
        }
        Command::Load(arguments) => load(&arguments).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a terminal")]
fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let RunArguments {
        tidegate,
        guests,
        runtimes,
        cache,
        output,
        only,
        rounds,
        seconds,
        connections,
        steady_minutes,
        strict,
    } = arguments;
    let suite = Suite {
        cases: if only.is_empty() { Case::value_variants().to_vec() } else { only },
        plan: Plan { rounds, seconds, warm_up_seconds: 1.0 },
        connections,
        steady: Duration::from_secs_f64(steady_minutes * 60.0),
        built: Built { program: tidegate, guests, runtimes },
        cache,
    };
    let results = suite.run()?;
    print!("{}", report::report(&results));
    if let Some(path) = &output {
        save(&results, path)?;
        eprintln!("bench: the raw data is in {}", path.display());
    }
    let missed = results.checks.iter().filter(|check| !check.reached).count();
    if missed > 0 {
        eprintln!("bench: {missed} of {} targets MISSED", results.checks.len());
    }
    Ok(if strict && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn save(results: &Results, path: &Path) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let text = serde_json::to_string_pretty(results)?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[allow(clippy::print_stdout, reason = "it talks to a terminal")]
fn load(arguments: &LoadArguments) -> anyhow::Result<()> {
    let mut target = Target::post(arguments.address, &arguments.path, HELLO);
    (target.status, target.body) = (arguments.status, None);
    let load = Load {
        connections: arguments.connections,
        warm_up: Duration::from_secs(1),
        measured: Duration::from_secs_f64(arguments.seconds),
    };
    let sample = load.put_on(&target)?;
    println!(
        "{:.0} requests/s, p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, {} right",
        sample.requests_per_s(),
        sample.latency_us(0.5),
        sample.latency_us(0.99),
        sample.latency_us(0.999),
        sample.answered,
    );
    for (trouble, count) in &sample.troubles {
        println!("{count} {}", trouble.word());
    }
    Ok(())
}
