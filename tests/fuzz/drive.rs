//! Seeds, and what is arbitrary in a run that one names. For the tests of the whole host and
//! for the engine's own.

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How often everything is done, times the usual; `make fuzz` sets it.
pub(crate) const TIMES: &str = "TIDEGATE_FUZZ_TIMES";
/// The first seed; 0 without it.
const SEED: &str = "TIDEGATE_FUZZ_SEED";

pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, is {text:?}")))
}

/// The folder with the generator of modules and the seeds that failed.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/fuzz")
}

/// The seeds of one target: those that failed once, then so many new ones.
pub(crate) fn seeds(target: &str, usual: u64) -> Vec<u64> {
    let known = std::fs::read_to_string(folder().join("seeds").join(target)).unwrap_or_default();
    let known =
        known.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{target}: {line:?} is no seed")));
    let first = number(SEED).unwrap_or(0);
    known.chain(first..first + usual * number(TIMES).unwrap_or(1)).collect()
}

/// Calls `one` for each seed of the target; a failure says which it was.
pub(crate) fn drive(target: &str, usual: u64, mut one: impl FnMut(&mut Dice)) {
    for seed in seeds(target, usual) {
        let _named = Named { target, seed };
        one(&mut Dice::new(seed));
    }
}

/// Says which seed it was when a run fails.
pub(crate) struct Named<'a> {
    pub(crate) target: &'a str,
    pub(crate) seed: u64,
}

impl Drop for Named<'_> {
    #[allow(clippy::print_stderr, reason = "whoever runs the test needs the seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { target, seed } = self;
            eprintln!("the target {target} fails with the seed {seed}: keep it in tests/fuzz/seeds/{target}");
        }
    }
}

/// Where everything that is arbitrary in a run comes from.
pub(crate) struct Dice(pub(crate) StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        self.0.random_ratio(1, n)
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    pub(crate) fn bytes(&mut self, max: usize) -> Vec<u8> {
        let length = self.below(max + 1);
        (0..length).map(|_| self.0.random()).collect()
    }

    /// Changes these bytes in a few places.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            let to = at + self.below((bytes.len() - at).min(64) + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..to)),
                2 => {
                    let inserted = self.bytes(16);
                    bytes.splice(at..at, inserted);
                }
                3 => {
                    let copied = bytes[at..to].to_vec();
                    let into = self.below(bytes.len() + 1);
                    bytes.splice(into..into, copied);
                }
                4 => {
                    let overwritten = self.bytes(to - at);
                    bytes.splice(at..to, overwritten);
                }
                _ if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ => {}
            }
        }
    }
}
