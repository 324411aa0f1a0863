//! The whole benchmark: which cases run, in which order, and what comes of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cases::accepting::{self, Accepting};
use crate::cases::canary::{self, Canary};
use crate::cases::cold::{self, Cold};
use crate::cases::controls::{self, Controls};
use crate::cases::cores::{self, Cores};
use crate::cases::deploying::{self, Deploying};
use crate::cases::functions::{self, Functions};
use crate::cases::hostile::{self, Hostile};
use crate::cases::overload::{self, Overload};
use crate::cases::python::{self, Python};
use crate::cases::python_memory::{self, PythonMemory};
use crate::cases::recording::{self, Recording};
use crate::cases::schedules::{self, Schedules};
use crate::cases::spinning::{self, Spinning};
use crate::cases::starting::{self, Starting};
use crate::cases::steady::{self, Steady};
use crate::cases::stored::{self, Stored};
use crate::check::Check;
use crate::machine::Machine;
use crate::rounds::Plan;
use crate::throughput::{self, Throughput};
use crate::tidegate::Built;
use crate::tool;

/// A case by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Bare hyper, `wasmtime serve` and Tidegate in turns.
    Throughput,
    /// What recording costs.
    Recording,
    /// From a deploy to the first reply.
    Deploying,
    /// Start and memory with 1,000 workflows.
    Starting,
    /// Lateness of 10,000 schedules.
    Schedules,
    /// A guest that never ends.
    Spinning,
    /// Requests that are answered before they ran.
    Accepting,
    /// Hello in Python beside gunicorn with Flask, functions-framework, pyeryx and workerd,
    /// and from a paste to the first reply.
    Python,
    /// Memory of Python workflows.
    PythonMemory,
    /// Functions that do something, beside gunicorn with Flask.
    Functions,
    /// The host on one, two and four cores.
    Cores,
    /// First calls.
    Cold,
    /// Ten minutes of load.
    Steady,
    /// Ten times the calls that there is room for.
    Overload,
    /// A million runs: pages of them, a start with them, their deletion.
    Stored,
    /// Hostile guests and uploads: when they are stopped, what others and memory notice.
    Hostile,
    /// 100,000 runs that look for what others left in their memory.
    Canary,
    /// What the controls cost that can be switched.
    Controls,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The cases, in this order.
    pub cases: Vec<Case>,
    /// How rounds are run.
    pub plan: Plan,
    /// Numbers of connections of the cases with a hello.
    pub connections: Vec<usize>,
    /// How long the steady load goes on.
    pub steady: Duration,
    /// The host and its guests.
    pub built: Built,
    /// Where peers are installed.
    pub cache: PathBuf,
}

/// What was measured; the raw data of all rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// Raised when a field is renamed or gets another meaning.
    pub format: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// On what.
    pub machine: Machine,
    /// How rounds were run.
    pub plan: Plan,
    /// See [`Case::Throughput`].
    pub throughput: Option<Throughput>,
    /// See [`Case::Recording`].
    pub recording: Option<Recording>,
    /// See [`Case::Deploying`].
    pub deploying: Option<Deploying>,
    /// See [`Case::Starting`].
    pub starting: Option<Starting>,
    /// See [`Case::Schedules`].
    pub schedules: Option<Schedules>,
    /// See [`Case::Spinning`].
    pub spinning: Option<Spinning>,
    /// See [`Case::Accepting`].
    pub accepting: Option<Accepting>,
    /// See [`Case::Python`].
    pub python: Option<Python>,
    /// See [`Case::PythonMemory`].
    pub python_memory: Option<PythonMemory>,
    /// See [`Case::Functions`].
    pub functions: Option<Functions>,
    /// See [`Case::Cores`].
    pub cores: Option<Cores>,
    /// See [`Case::Cold`].
    pub cold: Option<Cold>,
    /// See [`Case::Steady`].
    pub steady: Option<Steady>,
    /// See [`Case::Overload`].
    #[serde(default)]
    pub overload: Option<Overload>,
    /// See [`Case::Stored`].
    #[serde(default)]
    pub stored: Option<Stored>,
    /// See [`Case::Hostile`].
    #[serde(default)]
    pub hostile: Option<Hostile>,
    /// See [`Case::Canary`].
    #[serde(default)]
    pub canary: Option<Canary>,
    /// See [`Case::Controls`].
    #[serde(default)]
    pub controls: Option<Controls>,
    /// The figures to reach.
    pub checks: Vec<Check>,
}

impl Suite {
    /// Measures.
    ///
    /// # Errors
    /// The first thing that did not work: nothing is measured unless every response was
    /// right.
    pub fn run(&self) -> anyhow::Result<Results> {
        let mut results = Results {
            format: 2,
            started_at: Timestamp::now(),
            machine: Machine::this(),
            plan: self.plan,
            throughput: None,
            recording: None,
            deploying: None,
            starting: None,
            schedules: None,
            spinning: None,
            accepting: None,
            python: None,
            python_memory: None,
            functions: None,
            cores: None,
            cold: None,
            steady: None,
            overload: None,
            stored: None,
            hostile: None,
            canary: None,
            controls: None,
            checks: Vec::new(),
        };
        for case in &self.cases {
            self.run_case(*case, &mut results)?;
        }
        Ok(results)
    }

    fn run_case(&self, case: Case, results: &mut Results) -> anyhow::Result<()> {
        let (built, rounds) = (&self.built, self.plan.rounds);
        match case {
            Case::Throughput => {
                let wasmtime = tool::wasmtime(&self.cache)?;
                say("throughput beside bare hyper and wasmtime serve");
                let measured = throughput::measure(built, &wasmtime, &self.connections, self.plan)?;
                results.checks.extend(measured.checks());
                results.throughput = Some(measured);
            }
            Case::Recording => {
                say("recording on and off");
                let measured = recording::measure(built, self.plan)?;
                results.checks.extend(measured.checks());
                results.recording = Some(measured);
            }
            Case::Deploying => {
                say("from deploy to first reply");
                results.deploying = Some(deploying::measure(built, rounds)?);
            }
            Case::Starting => {
                say("start with 1,000 workflows");
                let measured = starting::measure(built, rounds)?;
                results.checks.extend(measured.checks());
                results.starting = Some(measured);
            }
            Case::Schedules => {
                say("10,000 schedules (some six minutes)");
                let measured = schedules::measure(built)?;
                results.checks.extend(measured.checks());
                results.schedules = Some(measured);
            }
            Case::Overload => {
                say("ten times the calls that there is room for");
                let measured = overload::measure(built, rounds)?;
                results.checks.extend(measured.checks());
                results.overload = Some(measured);
            }
            Case::Stored => {
                say("a million runs (some four minutes)");
                let measured = stored::measure(built, rounds)?;
                results.checks.extend(measured.checks());
                results.stored = Some(measured);
            }
            Case::Hostile => {
                say("hostile guests and uploads");
                let measured = hostile::measure(built, rounds)?;
                results.checks.extend(measured.checks());
                results.hostile = Some(measured);
            }
            Case::Canary => {
                say("100,000 runs that look for what others left");
                let measured = canary::measure(built)?;
                results.checks.extend(measured.checks());
                results.canary = Some(measured);
            }
            Case::Controls => {
                say("controls on and off");
                let measured = controls::measure(built, self.plan)?;
                results.checks.extend(measured.checks());
                results.controls = Some(measured);
            }
            Case::Spinning => {
                say("a guest that spins beside a neighbour");
                let measured = spinning::measure(built, rounds)?;
                results.checks.extend(measured.checks());
                results.spinning = Some(measured);
            }
            Case::Accepting => {
                say("requests that are answered before they ran");
                let measured = accepting::measure(built, rounds)?;
                results.checks.extend(measured.checks());
                results.accepting = Some(measured);
            }
            Case::Python => {
                say("hello in Python beside its peers");
                let measured = python::measure(built, &self.cache, &self.connections, self.plan)?;
                results.checks.extend(measured.checks());
                results.python = Some(measured);
            }
            Case::PythonMemory => {
                say("memory of Python workflows");
                let measured = python_memory::measure(built)?;
                results.checks.extend(measured.checks());
                results.python_memory = Some(measured);
            }
            Case::Functions => {
                say("functions in Python beside gunicorn with Flask");
                let measured = functions::measure(built, &self.cache, self.plan)?;
                results.checks.extend(measured.checks());
                results.functions = Some(measured);
            }
            Case::Cores => {
                say("the host on one, two and four cores");
                let measured = cores::measure(built, self.plan)?;
                results.checks.extend(measured.checks());
                results.cores = Some(measured);
            }
            Case::Cold => {
                say("first calls");
                results.cold = Some(cold::measure(built, rounds)?);
            }
            Case::Steady => {
                say("a steady load");
                let measured = steady::measure(built, self.steady)?;
                results.checks.extend(measured.checks());
                results.steady = Some(measured);
            }
        }
        Ok(())
    }
}

#[allow(clippy::print_stderr, reason = "it talks to a terminal")]
fn say(what: &str) {
    eprintln!("bench: {what}");
}
