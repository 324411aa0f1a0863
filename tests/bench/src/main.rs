//! The command line of the benchmark.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tidegate_bench::{HELLO, hello_server, load, peer, report, rounds};

/// Tidegate measured beside its peers.
#[derive(Parser)]
#[command(name = "tidegate-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compares peers.
    Compare {
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        #[arg(long)]
        wasmtime: PathBuf,
        #[arg(long)]
        serve_hello: PathBuf,
        #[arg(long, value_delimiter = ',', default_value = "1,32")]
        connections: Vec<usize>,
    },
    /// Serves hello with nothing but hyper: the peer for comparison.
    HelloServer {
        /// Where to listen; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Puts a load on any server and prints what came back.
    Load {
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
    },
}

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout)]
fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Compare { rounds, seconds, wasmtime, serve_hello, connections } => {
            let peers = [peer::bare_hyper()?, peer::wasmtime_serve(&wasmtime, &serve_hello)?];
            let series = rounds::measure(
                &peers,
                &connections,
                rounds::Plan { rounds, seconds, warm_up_seconds: 1.0 },
            )?;
            println!("{}", report::table(&series));
            Ok(())
        }
        Command::HelloServer { listen } => hello_server::serve(listen),
        Command::Load { address, path, connections, seconds, status } => {
            let mut target = load::Target::post(address, &path, HELLO);
            (target.status, target.body) = (status, None);
            let load = load::Load {
                connections,
                warm_up: Duration::from_secs(1),
                measured: Duration::from_secs_f64(seconds),
            };
            let sample = load.put_on(&target)?;
            println!(
                "{:.0} requests/s, p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, {} right, wrong {:?}",
                sample.requests_per_s(),
                sample.latency_us(0.5),
                sample.latency_us(0.99),
                sample.latency_us(0.999),
                sample.answered,
                sample.troubles,
            );
            Ok(())
        }
    }
}
